//! Programs of the guide (`crates/callboard/guide`), each as its chapter shows it; the argument names one.

#[cfg(test)]
mod text;

use std::process::ExitCode;

use callboard::supervision::MainError;

/// Makes a module of each chapter's program, with a function that runs it.
macro_rules! programs {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            include!(concat!(stringify!($name), "/main.rs"));

            pub(crate) fn start_program() -> Result<(), callboard::supervision::MainError> {
                main()
            }
        })*

        fn run(program: &str) -> Option<Result<(), MainError>> {
            match program {
                $(stringify!($name) => Some($name::start_program()),)*
                _ => None,
            }
        }

        const PROGRAMS: &[&str] = &[$(stringify!($name)),*];
    };
}

programs!(
    authentication,
    data_channels,
    deploying,
    first_room,
    handshake,
    jwt,
    limits,
    many_nodes,
    rpc,
    tracks,
    tree,
);

fn main() -> Result<ExitCode, MainError> {
    let program = std::env::args().nth(1).unwrap_or_default();
    let Some(ended) = run(&program) else {
        eprintln!("name one of these programs: {}", PROGRAMS.join(", "));
        return Ok(ExitCode::from(2));
    };
    ended.map(|()| ExitCode::SUCCESS)
}

/// The first room with the tests that the chapter on testing adds.
#[cfg(test)]
#[allow(dead_code, reason = "tests start no program")]
mod testing {
    include!("first_room/main.rs");
    include!("testing/tests.rs");
}
