//! What holds for every .qmail file and every extension, however hostile.

use dotqmail::{Instruction, candidates, instructions, name};
use proptest::prelude::*;

proptest! {
    #[test]
    fn every_line_gives_one_instruction(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        let newlines = file.iter().filter(|&&b| b == b'\n').count();
        let lines = newlines + usize::from(!file.ends_with(b"\n"));
        prop_assert_eq!(instructions(&file).count(), lines);
    }

    #[test]
    fn nothing_handed_to_the_system_has_a_nul_or_newline(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        for instruction in instructions(&file) {
            if let Instruction::Mbox(text) | Instruction::Maildir(text) | Instruction::Program(text)
                | Instruction::Forward(text) = instruction {
                prop_assert!(!text.contains(&0) && !text.contains(&b'\n'));
            }
        }
    }

    #[test]
    fn a_file_without_blank_lines_is_read_back(
        lines in proptest::collection::vec("[&|./#+a-z]{1,5}[a-z@.]{1,10}", 1..10)
    ) {
        let file = lines.join("\n") + "\n";
        for (line, instruction) in lines.iter().zip(instructions(file.as_bytes())) {
            let again = match instruction {
                Instruction::Mbox(t) | Instruction::Maildir(t) => t.to_vec(),
                Instruction::Program(t) => [b"|", t].concat(),
                Instruction::Forward(t) => [t].concat(),
                _ => continue,
            };
            prop_assert!(line.as_bytes().ends_with(&again));
        }
    }

    #[test]
    fn l3_no_extension_leaves_the_home_directory(ext in proptest::collection::vec(1u8.., 0..60)) {
        for candidate in candidates(b"-", &ext) {
            prop_assert!(candidate.file.starts_with(b".qmail-"));
            prop_assert!(candidate.file.split(|&b| b == b'/').all(|part| part != b".." && part != b"."));
            prop_assert!(candidate.default_at.is_none_or(|at| at <= ext.len()));
        }
        prop_assert!(name::with_suffix(b"-", &ext, b"-owner").ends_with(b"-owner"));
    }

    #[test]
    fn the_last_candidate_is_the_plain_default(ext in proptest::collection::vec(1u8.., 0..60)) {
        let last = candidates(b"-", &ext).last();
        prop_assert_eq!(last.map(|c| (c.file, c.default_at)), Some((b".qmail-default".to_vec(), Some(0))));
    }
}
