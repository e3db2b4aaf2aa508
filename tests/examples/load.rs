//! The load generator and sink of package/bench: whole_system::load tells how it is called.

fn main() -> std::process::ExitCode {
    whole_system::load::run(std::env::args().skip(1))
}
