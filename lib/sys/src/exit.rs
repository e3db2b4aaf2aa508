//! Exit codes, defined once.

/// What a program ends with. Zero is success; the meaning of the others is the classic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done.
    pub const OK: Exit = Exit(0);
    /// The answer is "no"; also how a network server ends a session it gave up.
    pub const NO: Exit = Exit(1);
    /// Done, and no later instruction of the .qmail file is to be carried out (qmail-command(8)).
    pub const STOP: Exit = Exit(99);
    /// Permanent failure: bad usage, bad input, mail that can never be delivered.
    pub const PERMANENT: Exit = Exit(100);
    /// Temporary failure: the mail is kept and tried again. When in doubt, this one.
    pub const TEMPORARY: Exit = Exit(111);
    /// A child could not exec its program.
    pub const NOT_EXECUTED: Exit = Exit(120);
}
