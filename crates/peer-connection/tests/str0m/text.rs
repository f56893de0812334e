//! Minimal reader and writer of a description's text.

/// Returns the m-sections of a description, each from its `m=` line on.
pub(crate) fn sections(description: &str) -> Vec<String> {
    let mut sections: Vec<String> = Vec::new();
    for line in description.lines() {
        if line.starts_with("m=") {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            section.push_str(line);
            section.push_str("\r\n");
        }
    }
    sections
}

/// Returns the text before the first m-section.
pub(crate) fn session(description: &str) -> String {
    description
        .lines()
        .take_while(|line| !line.starts_with("m="))
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

/// Returns the rest of each line that starts with `prefix`.
pub(crate) fn values<'a>(description: &'a str, prefix: &str) -> Vec<&'a str> {
    description.lines().filter_map(|line| line.strip_prefix(prefix)).collect()
}

/// Returns the rest of the first line that starts with `prefix`.
pub(crate) fn value<'a>(description: &'a str, prefix: &str) -> &'a str {
    values(description, prefix)
        .first()
        .copied()
        .unwrap_or_else(|| panic!("{prefix} in\n{description}"))
}

/// Returns the direction of each m-section; empty for one that has none, as for channels.
pub(crate) fn directions(description: &str) -> Vec<&'static str> {
    let direction = |section: &String| {
        DIRECTIONS
            .into_iter()
            .find(|direction| section.lines().any(|line| line[2.min(line.len())..] == **direction))
    };
    sections(description).iter().map(|section| direction(section).unwrap_or_default()).collect()
}

/// Returns the port of each m-section.
pub(crate) fn ports(description: &str) -> Vec<&str> {
    values(description, "m=").into_iter().map(|line| line.split(' ').nth(1).unwrap()).collect()
}

/// Returns the description with the m-section at `index` rewritten.
pub(crate) fn with_section(
    description: &str,
    index: usize,
    rewrite: impl FnOnce(&str) -> String,
) -> String {
    let mut sections = sections(description);
    sections[index] = rewrite(&sections[index]);
    session(description) + &sections.concat()
}

/// Returns the description with another direction of the m-section at `index`.
pub(crate) fn with_direction(description: &str, index: usize, direction: &str) -> String {
    let old = directions(description)[index];
    with_section(description, index, |section| {
        section.replace(&format!("a={old}\r\n"), &format!("a={direction}\r\n"))
    })
}

/// Returns the description with the m-section at `index` rejected: port 0 and out of the bundle.
pub(crate) fn with_rejected(description: &str, index: usize) -> String {
    let mid = value(&sections(description)[index], "a=mid:").to_owned();
    let bundle = value(description, "a=group:BUNDLE ");
    let kept: Vec<_> = bundle.split(' ').filter(|bundled| *bundled != mid).collect();
    with_section(&with_bundle(description, &kept), index, |section| {
        let port = ports(section)[0].to_owned();
        section.replacen(&format!(" {port} "), " 0 ", 1)
    })
}

/// Returns the current sections of an offer, without those it would add.
pub(crate) fn first_sections(offer: &str, count: usize) -> String {
    let bundle = value(offer, "a=group:BUNDLE ");
    let kept: Vec<_> = bundle.split(' ').take(count).collect();
    session(&with_bundle(offer, &kept)) + &sections(offer)[..count].concat()
}

/// Returns the payload type that a section gives a codec.
pub(crate) fn pt_of(section: &str, codec: &str) -> String {
    let named = values(section, "a=rtpmap:")
        .into_iter()
        .find_map(|map| map.strip_suffix(&format!(" {codec}")));
    named.unwrap_or_else(|| panic!("{codec} in\n{section}")).to_owned()
}

/// Returns the section with a few of its payload types.
pub(crate) fn only(section: &str, kept: &[&str]) -> String {
    let types = value(section, "m=").splitn(4, ' ').last().unwrap();
    let belongs = |line: &&str| {
        let of = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"]
            .iter()
            .find_map(|prefix| line.strip_prefix(prefix));
        of.is_none_or(|rest| kept.contains(&rest.split(' ').next().unwrap()))
    };
    let lines: String = section.lines().filter(belongs).flat_map(|line| [line, "\r\n"]).collect();
    lines.replacen(types, &kept.join(" "), 1)
}

/// Returns the description with another bundle.
pub(crate) fn with_bundle(description: &str, mids: &[&str]) -> String {
    let bundle = value(description, "a=group:BUNDLE ");
    description.replace(
        &format!("a=group:BUNDLE {bundle}\r\n"),
        &format!("a=group:BUNDLE {}\r\n", mids.join(" ")),
    )
}

/// Returns the description without the lines that start with `prefix`.
pub(crate) fn without(description: &str, prefix: &str) -> String {
    description
        .lines()
        .filter(|line| !line.starts_with(prefix))
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

/// Returns the description with the version in `o=` raised by one, as each new one needs it.
pub(crate) fn renumbered(description: &str) -> String {
    let origin = value(description, "o=");
    let mut fields: Vec<String> = origin.split(' ').map(str::to_owned).collect();
    fields[2] = (fields[2].parse::<u64>().unwrap() + 1).to_string();
    description.replace(origin, &fields.join(" "))
}

const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];
