//! Counts in words, for first lines: no number is said twice.

/// Before `held by`: `9 of 12 `; `all ` where it is all of them; nothing where there is but one.
pub fn among(count: u64, total: u64) -> String {
    if count == total { all(total) } else { format!("{count} of {total} ") }
}

/// Before `with peer`, where the total is said already: `9 `, `all `, nothing where there is but one.
pub fn part(count: u64, total: u64) -> String {
    if count == total { all(total) } else { format!("{count} ") }
}

fn all(total: u64) -> String {
    if total == 1 { String::new() } else { "all ".to_owned() }
}

/// `4 over UNIX sockets`, where TCP's are among the others.
pub fn over_unix(count: u64, has_tcp: bool) -> Option<String> {
    (has_tcp && count > 0).then(|| format!("{count} over UNIX sockets"))
}

/// Why no UNIX socket is idle.
pub const UNTOLD_SILENCE: &str = "the kernel doesn't tell when a UNIX socket last carried data";

/// `a, b, c, d, e and 2 more`.
pub fn few<T: AsRef<str>>(names: &[T]) -> String {
    const MOST: usize = 5;
    let (first, more) = names.split_at(names.len().min(MOST));
    let first = first.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if more.is_empty() { first } else { format!("{first} and {} more", more.len()) }
}

/// What nothing ties to a service, and no earlier look knew.
pub fn strayed(count: u64) -> String {
    let ends = if count == 1 { "end of a UNIX client" } else { "ends of UNIX clients" };
    format!("{count} closed {ends} from before the first run, whose can't be told")
}

/// `12 sockets`; `12 client sockets` where they are all on one side. `sides`: of the server's and of the client's
/// side, where both were asked for.
pub fn sided(count: u64, noun: &str, sides: Option<[u64; 2]>) -> String {
    let many = if count == 1 { "" } else { "s" };
    match sides {
        Some([1..=u64::MAX, 0]) => format!("{count} server {noun}{many}"),
        Some([0, 1..=u64::MAX]) => format!("{count} client {noun}{many}"),
        _ => format!("{count} {noun}{many}"),
    }
}

/// `7 at the server's end, 5 at the client's`: what [`sided`] leaves out, for behind what matters more.
pub fn both_sides(sides: Option<[u64; 2]>) -> Option<String> {
    let [server, client] = sides.filter(|sides| !sides.contains(&0))?;
    Some(format!("{server} at the server's end, {client} at the client's"))
}

/// A problem's first words and those behind its owners: the number and the oldest lead, whether they are among
/// the reasons or not, and a reason in any case. Some pagers cut a line after 160 characters.
pub fn lead(counted: Option<String>, oldest: Option<String>, reasons: &[String]) -> [Vec<String>; 2] {
    let says = |what: &Option<String>, reason: &String| what.as_ref().is_some_and(|what| reason.starts_with(what));
    let leads = |reason: &String| says(&counted, reason) || says(&oldest, reason);
    let (mut lead, mut rest): (Vec<String>, Vec<String>) = reasons.iter().cloned().partition(leads);
    if lead.is_empty() && !rest.is_empty() {
        lead.push(rest.remove(0));
    }
    let is_said = |lead: &[String], what| lead.iter().any(|part| says(what, part));
    if !is_said(&lead, &oldest) {
        lead.extend(oldest.clone());
    }
    if !is_said(&lead, &counted) {
        lead.splice(..0, counted.clone());
    }
    [lead, rest]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_a_reason_and_the_oldest_lead() {
        let text = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
        let of = |reasons: &[&str]| lead(Some("9 x".into()), Some("oldest 1m".into()), &text(reasons));
        let told = |first: &[&str], rest: &[&str]| [text(first), text(rest)];
        assert_eq!(of(&[]), told(&["9 x", "oldest 1m"], &[]));
        assert_eq!(
            of(&["9 x (warning 5)", "2% (warning 1)"]),
            told(&["9 x (warning 5)", "oldest 1m"], &["2% (warning 1)"])
        );
        assert_eq!(of(&["2% (warning 1)", "b"]), told(&["9 x", "2% (warning 1)", "oldest 1m"], &["b"]));
        let all = ["9 x (warning 5)", "2% (warning 1)", "oldest 1m (warning 9)"];
        assert_eq!(of(&all), told(&[all[0], all[2]], &[all[1]]));
        assert_eq!(of(&all[1..]), told(&["9 x", all[2]], &[all[1]]));
        assert_eq!(lead(None, None, &[]), told(&[], &[]));
    }

    #[test]
    fn of_many_the_first_are_named() {
        assert_eq!([few(&["a"]), few(&["a", "b", "c", "d", "e"])], ["a", "a, b, c, d, e"]);
        assert_eq!(few(&["a", "b", "c", "d", "e", "f", "g"]), "a, b, c, d, e and 2 more");
    }

    #[test]
    fn what_is_all_says_no_number() {
        assert_eq!([among(9, 12), among(12, 12), among(1, 1)], ["9 of 12 ", "all ", ""]);
        assert_eq!([part(9, 12), part(12, 12), part(1, 1)], ["9 ", "all ", ""]);
    }

    #[test]
    fn a_side_without_any_is_not_named() {
        let of = |server, client| sided(server + client, "socket", Some([server, client]));
        assert_eq!([of(7, 5), of(7, 0)], ["12 sockets", "7 server sockets"]);
        assert_eq!([of(0, 1), of(0, 0)], ["1 client socket", "0 sockets"]);
        assert_eq!(sided(1, "connection", None), "1 connection");
        let both = [[7, 5], [7, 0], [0, 0]].map(|sides| both_sides(Some(sides)));
        assert_eq!(both, [Some("7 at the server's end, 5 at the client's".to_owned()), None, None]);
        assert_eq!(both_sides(None), None);
    }
}
