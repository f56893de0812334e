//! Gathering: the candidates of this side, and the relays behind some of them.
