//! Programs of the guide (`crates/callboard/guide`), each as its chapter shows it; the argument names one.

#[cfg(test)]
mod text;

use std::io;
use std::process::ExitCode;

/// Makes a module of each chapter's program, with a function that runs it.
macro_rules! programs {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            include!(concat!(stringify!($name), "/main.rs"));

            pub(crate) fn start_program() -> std::io::Result<()> {
                main()
            }
        })*

        fn run(program: &str) -> Option<io::Result<()>> {
            match program {
                $(stringify!($name) => Some($name::start_program()),)*
                _ => None,
            }
        }

        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
    };
}

programs!(authentication, data_channels, deploying, first_room, handshake, jwt, limits, rpc, tree);

fn main() -> ExitCode {
    let program = std::env::args().nth(1).unwrap_or_default();
    match run(&program) {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("{program}: {error}");
            ExitCode::FAILURE
        }
        None => {
            eprintln!("name one of these programs: {}", PROGRAMS.join(", "));
            ExitCode::from(2)
        }
    }
}

/// The first room with the tests that the chapter on testing adds.
#[cfg(test)]
#[allow(dead_code, reason = "tests start no program")]
mod testing {
    include!("first_room/main.rs");
    include!("testing/tests.rs");
}
