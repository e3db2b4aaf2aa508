//! A SCRAM-SHA-256 exchange. The caller has passed on the client's first message and a nonce of its own; then:
//!
//! | from here, on fd 4 | from the caller, on fd 3 |
//! |---|---|
//! | the server's first message, LF | |
//! | | the client's last message, NUL |
//! | the server's last message, LF | |
//! | | the end of input: now this program becomes the other |
//!
//! If the password is wrong nothing more comes, and if the caller gives up it writes anything else in place of the end
//! of input: the exit code is 1. A user who is not
//! there, or whose password is kept in a form that does not allow this, gets a salt like any other: always the same,
//! made with a key that nobody else knows.

use crate::request::{Request, Scram};
use crate::{ANSWERS, Failure, INPUT};
use auth::scram::{self, ClientFirst, Server, Verifier};
use auth::stored::Stored;
use auth::{Secret, saslprep};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use sys::{fd, fs, process, random};

/// The longest last message of a client (bytes).
const MESSAGE_MAX: usize = 4096;
/// The key, below home. Made when it is needed for the first time.
const KEY_FILE: &str = "users/authkey";
const KEY: usize = 32;

pub fn run(home: &Path, text: &[u8], request: &Request, scram: &Scram, value: Option<&[u8]>) -> Result<(), Failure> {
    // The client must not be asked as one user and let in as another.
    let client = ClientFirst::parse_bare(&scram.bare).map_err(|_| Failure::Misused)?;
    if !saslprep::prepared(&client.user).is_some_and(|user| user.eq_ignore_ascii_case(&request.user)) {
        return Err(Failure::Misused);
    }
    let key = key(home).unwrap_or_else(|_| Secret::new(text.to_vec()));
    let user = request.user.to_ascii_lowercase();
    let stored = value.map(Stored::parse);
    let password = if let Some(Stored::Plain(password)) = stored { password } else { b"" };
    // Made for everybody, since it takes its time. The same salt for the same user with any form of password but a
    // verifier, which has its own.
    let made = Verifier::of_password(password, &scram::salt_for(&key, &user), scram::ITERATIONS);
    let verifier = match stored {
        Some(Stored::Plain(_)) => made,
        Some(Stored::Scram(verifier)) => *verifier,
        _ => Verifier::of_nobody(&key, &user),
    };
    let server = Server::new(&scram.bare, &scram.nonce, verifier).map_err(|_| Failure::Misused)?;
    say(server.first())?;
    let last = listen()?;
    let answer = server.finish(&last).map_err(|_| Failure::Refused)?;
    say(&answer)?;
    // The client may have something to say to the other program: not before it has heard this.
    let mut input = INPUT;
    match input.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::Refused),
        Err(_) => Err(Failure::Trouble),
    }
}

fn say(message: &[u8]) -> Result<(), Failure> {
    fd::write_all(ANSWERS.0, &[message, b"\n"].concat()).map_err(|_| Failure::Misused)
}

/// The client's last message.
fn listen() -> Result<Vec<u8>, Failure> {
    let mut input = INPUT;
    let mut message = Vec::new();
    let mut byte = [0];
    // Byte by byte: few, and nothing beyond the NUL is ours.
    while message.len() <= MESSAGE_MAX {
        match input.read(&mut byte) {
            Ok(0) => return Err(Failure::Refused),
            Ok(_) if byte == [0] => return Ok(message),
            Ok(_) => message.extend_from_slice(&byte),
            Err(_) => return Err(Failure::Trouble),
        }
    }
    Err(Failure::Refused)
}

/// The key for the salts. Without one, and not allowed to make one, the caller takes what else nobody knows.
fn key(home: &Path) -> io::Result<Secret> {
    let path = home.join(KEY_FILE);
    for _ in 0..2 {
        match fs::open_read(&path) {
            Ok(file) => {
                let mut key = Secret::new(Vec::with_capacity(KEY + 1));
                file.take(KEY as u64).read_to_end(&mut key)?;
                return if key.len() == KEY { Ok(key) } else { Err(io::ErrorKind::InvalidData.into()) };
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => make_key(&path)?,
            Err(e) => return Err(e),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Makes the file in one step, so that nobody sees a part of it. If another was faster, that one's is fine.
fn make_key(path: &Path) -> io::Result<()> {
    let mut key = Secret::new(vec![0; KEY]);
    random::fill(&mut key)?;
    let new = path.with_extension(format!("tmp{}", process::pid().0));
    let made = fs::create_new(&new, 0o600).and_then(|mut file: File| {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(&key)?;
        file.sync_all()?;
        match fs::move_new(&new, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => std::fs::remove_file(&new),
            moved => moved,
        }
    });
    if made.is_err() {
        // Whatever is there is half done; a file of another process has another name.
        let _ = std::fs::remove_file(&new);
    }
    made
}
