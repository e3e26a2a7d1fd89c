//! A rise that is going on now: too short for the trend of hours, and nothing that could be called steady.

use super::series::Series;

/// Seconds that are looked at, and the fewest that tell anything.
const LATELY: f64 = 900.0;
const SHORTEST: f64 = 300.0;
/// From each third of the time to the next by this share, and so many connections at least: one jump isn't going on.
const SHARE: f64 = 0.15;
const FEWEST: f64 = 4.0;

/// Looks of a rise of a moment, each above the one before: chance does that once in a hundred times.
const LOOKS: usize = 5;
/// By this share of where they began, and so many connections, a rise of a moment is more than noise.
const MOMENT_SHARE: f64 = 0.5;
const MOMENT_FEWEST: f64 = 10.0;

/// Connections per second: over the last minutes, else over the last looks, if all that is known of them is that they rise.
pub fn rate(totals: &Series, now: f64) -> Option<f64> {
    over_minutes(totals, now).or_else(|| over_looks(totals))
}

fn over_minutes(totals: &Series, now: f64) -> Option<f64> {
    let from = (now - LATELY).max(0.0);
    let third = (now - from) / 3.0;
    if now - from < SHORTEST {
        return None;
    }
    let mean = |part: f64| totals.mean(from + part * third, from + (part + 1.0) * third);
    let [first, second, last] = [mean(0.0)?, mean(1.0)?, mean(2.0)?];
    let least = |before: f64| (SHARE * before).max(FEWEST);
    let goes_on = second - first >= least(first) && last - second >= least(second);
    goes_on.then(|| (last - first) / (2.0 * third))
}

fn over_looks(totals: &Series) -> Option<f64> {
    let last = totals.latest(0.0, 1).last()?;
    let mut run = vec![last];
    for look in totals.between(last.at - LATELY, last.at).iter().rev().skip(1) {
        if run.last().is_some_and(|above| look.mean >= above.mean) {
            break;
        }
        run.push(look);
    }
    let first = run.last()?;
    let risen = f64::from(last.mean - first.mean);
    let counts = risen >= (MOMENT_SHARE * f64::from(first.mean)).max(MOMENT_FEWEST);
    (run.len() >= LOOKS && counts).then(|| risen / (last.at - first.at).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate_of(connections: impl Fn(f64) -> f64, seconds: u32) -> Option<f64> {
        let mut totals = Series::default();
        (0..=seconds / 10).map(|at| f64::from(at) * 10.0).for_each(|at| totals.push(at, connections(at)));
        rate(&totals, f64::from(seconds))
    }

    #[test]
    fn what_rises_for_minutes_is_not_steady() {
        let rate = rate_of(|at| 210.0 + at / 780.0 * 614.0, 780).expect("from 210 to 824 in 13 minutes");
        assert!((rate * 780.0 - 614.0).abs() < 20.0, "{rate}");
    }

    #[test]
    fn what_only_rises_is_not_steady_in_its_first_minute() {
        let rising = |seconds| rate_of(|at| 5.0 + at, seconds);
        assert_eq!((rising(30), rising(40)), (None, Some(1.0)), "four looks, and five");
        let mut totals = Series::default();
        (0..38).map(f64::from).for_each(|at| totals.push(at, 5.0 + at));
        assert_eq!(rate(&totals, 37.0), Some(1.0), "looked at each second");
        assert_eq!(rate_of(|at| 20.0 + (at - 3600.0).max(0.0), 3640), Some(1.0), "from a calm of an hour");
        assert_eq!(rate_of(|at| 20.0 + (at - 3600.0).max(0.0), 3630), None, "the last of its looks was calm");
        assert_eq!(rate_of(|at| 200.0 + at, 50), None, "a quarter, which may be load");
    }

    #[test]
    fn a_burst_a_step_and_noise_don_t_rise() {
        assert_eq!(rate_of(|at| if (300.0..400.0).contains(&at) { 300.0 } else { 20.0 }, 900), None, "a burst");
        assert_eq!(rate_of(|at| if at < 450.0 { 20.0 } else { 300.0 }, 3600), None, "a step, long ago");
        assert_eq!(rate_of(|at| if at < 700.0 { 20.0 } else { 300.0 }, 900), None, "a step");
        assert_eq!(rate_of(|at| 100.0 + (at / 7.0).sin() * 30.0, 3600), None, "noise");
        assert_eq!(rate_of(|at| 20.0 + at / 40.0, 200), None, "too short a time for so little");
    }
}
