//! Which account a local part belongs to: the rule that qmail-getpw and qmail-getnss share.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use sys::Exit;
use sys::process::Uid;
use sys::user::Account;

/// No account name is longer (bytes): what comes from outside never makes the name service work harder than that.
const NAME_MAX: usize = 31;
const HOME_OUT_OF_REACH: Exit = Exit(115);
const NO_ALIAS: Exit = Exit(116);
/// Trouble that passes.
pub const TROUBLE: Exit = Exit(118);

/// Finds out whose mail `local` gets and writes the six fields to descriptor 1. `find` looks an account up by its name,
/// which is never empty; its errors come back, and so do exit codes that have to tell.
pub fn answer<E: From<Exit>>(local: &[u8], mut find: impl FnMut(&[u8]) -> Result<Option<Account>, E>) -> Result<(), E> {
    let Owner { account, dash, extension } = match owner(local, &mut find)? {
        Some(owner) => owner,
        None => Owner { account: alias(&mut find)?, dash: b"-", extension: local },
    };
    let (uid, gid) = (account.uid.0.to_string(), account.gid.0.to_string());
    let fields = [&account.name[..], uid.as_bytes(), gid.as_bytes(), &account.home, dash, extension, b""];
    sys::fd::write_all(1, &fields.join(&0)).map_err(|_| TROUBLE.into())
}

/// Whose mail it is, and what the address says beyond the name.
#[derive(Debug, PartialEq, Eq)]
struct Owner<'a> {
    account: Account,
    dash: &'static [u8],
    extension: &'a [u8],
}

/// The account that `local` begins with.
fn owner<'a, E: From<Exit>>(
    local: &'a [u8],
    find: &mut impl FnMut(&[u8]) -> Result<Option<Account>, E>,
) -> Result<Option<Owner<'a>>, E> {
    for end in (0..=local.len().min(NAME_MAX)).rev() {
        let (name, rest) = local.split_at(end);
        let (dash, extension): (&[u8], _) = match rest.split_first() {
            None => (b"", rest),
            Some((&conf::BREAK, extension)) => (b"-", extension),
            Some(_) => continue,
        };
        if name.is_empty() {
            continue;
        }
        let account = find(&name.to_ascii_lowercase())?;
        let Some(account) = account.filter(|a| a.uid != Uid(0)) else { continue };
        match std::fs::metadata(OsStr::from_bytes(&account.home)) {
            Ok(meta) if meta.uid() == account.uid.0 => return Ok(Some(Owner { account, dash, extension })),
            // The home was given to somebody else: then the mail is not this account's either.
            Ok(_) => {}
            Err(e) if sys::error::is_temporary(&e) => return Err(HOME_OUT_OF_REACH.into()),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// Whoever gets the mail for names that are no accounts.
fn alias<E: From<Exit>>(find: &mut impl FnMut(&[u8]) -> Result<Option<Account>, E>) -> Result<Account, E> {
    let home = conf::home(sys::env::get(b"QMAILHOME"), sys::process::is_privileged_beyond_caller());
    let dir = home.join("alias");
    let owned_by = |uid: Uid| std::fs::metadata(&dir).is_ok_and(|m| m.uid() == uid.0);
    let (uid, gid) = (sys::process::euid(), sys::process::egid());
    // In an installed system home/alias is the account alias's, never qmailp's.
    if uid != Uid(0) && owned_by(uid) {
        let home = dir.as_os_str().as_bytes().to_vec();
        return Ok(Account { name: conf::names::ALIAS.into(), uid, gid, home });
    }
    let account = find(conf::names::ALIAS.as_bytes())?.ok_or(NO_ALIAS)?;
    // The account's own home is that of the first instance.
    if home.as_os_str() != conf::HOME && owned_by(account.uid) {
        return Ok(Account { home: dir.as_os_str().as_bytes().to_vec(), ..account });
    }
    Ok(account)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::process::Gid;

    fn look(local: &str, known: &[&str]) -> Result<Option<(String, String, String)>, Exit> {
        let home = std::env::temp_dir().join(format!("getpw-{}-{local}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        if sys::process::euid() == Uid(0) {
            std::os::unix::fs::chown(&home, Some(1), None).unwrap();
        }
        let (uid, gid) = (Uid(home.metadata().unwrap().uid()), Gid(1));
        let found = owner(local.as_bytes(), &mut |name: &[u8]| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            if name == "trouble" {
                return Err(TROUBLE);
            }
            let home = home.as_os_str().as_bytes().to_vec();
            Ok(known.contains(&name.as_str()).then(|| Account { name: name.into(), uid, gid, home }))
        });
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).unwrap();
        let found = found.map(|f| f.map(|o| (text(&o.account.name), text(o.dash), text(o.extension))));
        std::fs::remove_dir(home).unwrap();
        found
    }

    #[test]
    fn the_longest_name_wins_and_the_rest_is_the_extension() {
        let known = ["joe", "joe-x", &"n".repeat(31), &"m".repeat(32)];
        let found = |user: &str, dash: &str, ext: &str| Ok(Some((user.into(), dash.into(), ext.into())));
        assert_eq!(look("joe", &known), found("joe", "", ""));
        assert_eq!(look("joe-", &known), found("joe", "-", ""));
        assert_eq!(look("JOE-Foo-bar", &known), found("joe", "-", "Foo-bar"));
        assert_eq!(look("joe-x", &known), found("joe-x", "", ""));
        assert_eq!(look("joe-x-y", &known), found("joe-x", "-", "y"));
        assert_eq!(look("joex", &known), Ok(None));
        assert_eq!(look("", &known), Ok(None));
        assert_eq!(look("-joe", &known), Ok(None));
        assert_eq!(look(&"n".repeat(31), &known), found(&"n".repeat(31), "", ""));
        assert_eq!(look(&"m".repeat(32), &known), Ok(None));
        assert_eq!(look("trouble-x", &known), Err(TROUBLE));
    }
}
