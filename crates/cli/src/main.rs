//! The `reveille` program.

fn main() -> std::process::ExitCode {
    reveille::main()
}
