//! Filter of the data between DTLS and an `Rtc`.

/// Filter between DTLS and an `Rtc`: it sees all application data, and withholds from the `Rtc` what the `Rtc` should
/// not get.
pub trait DataFilter: std::fmt::Debug + Send + Sync {
    /// Decides on data of the peer.
    fn incoming(&mut self, data: &[u8]) -> Filtered;
    /// Inspects data for the peer.
    fn outgoing(&mut self, data: &[u8]);
    /// Notes that the peer has closed. Default: nothing.
    fn closed_by_peer(&mut self) {}
}

/// Decision of a [`DataFilter`] on data of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Filtered {
    /// The data goes on to the `Rtc`.
    Pass,
    /// The data is dropped.
    Drop,
    /// This data goes on to the `Rtc` instead.
    Replace(Vec<u8>),
}
