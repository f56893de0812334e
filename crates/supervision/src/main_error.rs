//! Error of a program's `main`, shown as text.

use std::fmt;

/// Error that `main` returns, made by `?` of any error or text, and printed as that displays itself. Of an `io::Error`
/// that `main` returns, people would see `Error: Custom { kind: Other, error: … }`.
///
/// ```
/// # use callboard_supervision::MainError;
/// fn main() -> Result<(), MainError> {
///     let port: u16 = "8081".parse()?;
///     println!("listening on {port}");
///     Ok(())
/// }
/// ```
pub struct MainError(String);

impl<T: fmt::Display> From<T> for MainError {
    fn from(error: T) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for MainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_printed_as_it_displays_itself() {
        let failing = || -> Result<(), MainError> { Err(std::io::Error::other("no such\tport"))? };

        assert_eq!(format!("Error: {:?}", failing().unwrap_err()), "Error: no such\tport");
    }
}
