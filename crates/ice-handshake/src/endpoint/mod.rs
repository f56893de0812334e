//! A stand-alone ICE endpoint, for applications without SDP.
