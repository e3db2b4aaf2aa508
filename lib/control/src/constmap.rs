//! A fixed set of keys, some with a value, looked up without regard to ASCII case.

use std::collections::HashMap;

/// Keys fold ASCII upper case to lower case. Where a key stands twice the first one counts.
#[derive(Clone, Debug, Default)]
pub struct ConstMap(HashMap<Vec<u8>, Vec<u8>>);

impl ConstMap {
    /// Every item is a key without a value.
    pub fn of_keys(items: &[Vec<u8>]) -> ConstMap {
        let mut map = HashMap::with_capacity(items.len());
        for item in items {
            map.entry(item.to_ascii_lowercase()).or_default();
        }
        ConstMap(map)
    }

    /// Every item is `key:value`; an item without a colon is no entry.
    pub fn of_pairs(items: &[Vec<u8>]) -> ConstMap {
        let mut map = HashMap::with_capacity(items.len());
        for item in items {
            if let Some(at) = item.iter().position(|&b| b == b':') {
                let (key, value) = item.split_at(at);
                map.entry(key.to_ascii_lowercase()).or_insert_with(|| value.get(1..).unwrap_or_default().to_vec());
            }
        }
        ConstMap(map)
    }

    /// The value of `key` (empty for a map of keys), if it is there.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key.to_ascii_lowercase()).map(Vec::as_slice)
    }

    /// Whether `key` is there.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fold_case_and_the_first_wins() {
        let m =
            ConstMap::of_pairs(&[b"A.test:one".to_vec(), b"a.test:two".to_vec(), b"none".to_vec(), b":all".to_vec()]);
        assert_eq!(m.get(b"a.TEST"), Some(&b"one"[..]));
        assert_eq!(m.get(b""), Some(&b"all"[..]));
        assert!(!m.contains(b"none"));
        assert!(ConstMap::of_keys(&[b"X".to_vec()]).contains(b"x"));
    }
}
