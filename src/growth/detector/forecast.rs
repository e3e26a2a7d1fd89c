//! When the limit is reached: the leak goes on at its rate, the healthy rest goes as high as it lately did in as long a time.

use super::scene::Pace;
use super::series::{Point, Series};

/// Seconds of the past whose crest the healthy rest reaches again at least: load an hour from now is most like load just now.
const LATELY: f64 = 1800.0;
/// Fewer looks don't tell how noisy a load is: where they are rare one spike would be both its crest and its noise.
const LOOKS: usize = 24;
/// Standard deviations above the mean that a load comes to in a hundred looks: those seen, and those to come.
const USUAL_CREST: f64 = 2.5;
/// And that it hardly ever exceeds, at and between the looks.
const WORST_CREST: f64 = 4.0;
/// A leak may go on at this share of its slowest pace so far.
const SLOWER: f64 = 0.8;
/// Per second, the share of itself by which a load may rise that hasn't been seen for a day: a working day's doubles from night to noon.
const RISE: f64 = 0.05 / 3600.0;
/// The rhythm of most loads, seconds.
const DAY: f64 = 86_400.0;
/// The rhythm of a load that rests at weekends, seconds.
const WEEK: f64 = 7.0 * DAY;

/// Seconds over which growth is told from steadiness.
const TREND: f64 = 4.0 * 3600.0;
/// Seconds over which fast growth is told, and the shortest history that tells any.
const QUICK: f64 = 600.0;

/// Seconds until the limit is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    /// At the fastest of its paces, the healthy rest as high as it came in as long a time before, and a day ago.
    pub likely: f64,
    /// That pace two standard deviations higher, the healthy rest at its worst.
    pub earliest: f64,
    /// The slowest pace two standard deviations lower, the healthy rest at its mean.
    pub latest: f64,
}

/// The part of the present that leaks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Leaking {
    /// Instant on the detector's clock.
    pub onset: f64,
    /// Connections per second.
    pub rate: f64,
    /// Sockets that the rate was counted from.
    pub evidence: f64,
}

/// What leaks without a pause at one rate.
pub fn time_left(leaking: Leaking, totals: &Series, limit: f64, now: f64) -> TimeLeft {
    time_left_at(Pace::steady(leaking.rate), now, leaking, totals, limit, now)
}

/// What leaks at a changing `pace` and was last seen to go on at `found`.
pub fn time_left_at(pace: Pace, found: f64, leaking: Leaking, totals: &Series, limit: f64, now: f64) -> TimeLeft {
    let Leaking { onset, rate, evidence } = leaking;
    // What rests has not leaked since.
    let leaked = |at: f64| rate * (at.min(found) - onset).max(0.0);
    let rest = |point: &Point, count: f32| (f64::from(count) - leaked(point.at)).max(0.0);
    let crest = |points: &[Point]| points.iter().map(|point| rest(point, point.max)).fold(0.0, f64::max);
    let means = |points: &[Point]| points.iter().map(|point| rest(point, point.mean)).collect::<Vec<f64>>();
    let left = |healthy: f64, rate: f64| ((limit - healthy - leaked(now)) / rate.max(1e-9)).max(0.0);
    // The further ahead, the longer the past of which the load may come back.
    let reached = |deviations: f64, rate: f64| {
        met(|ahead| {
            let span = ahead.max(LATELY);
            let lately = totals.latest(span, LOOKS);
            let (mean, deviation) = mean_and_deviation(&means(lately));
            let yesterday = totals.between(now - DAY, now - DAY + span);
            // Until a day has been seen, its crest may be yet to come.
            let rise = mean * RISE * ahead.min((DAY - now).max(0.0));
            left(rise + crest(lately).max(crest(yesterday)).max(mean + deviations * deviation), rate)
        })
    };
    // Leaks come one by one: a count of n is uncertain by about its root.
    let doubt = (2.0 / evidence.max(1.0).sqrt()).min(0.9);
    let fast = pace.fastest * (1.0 + doubt);
    let mut earliest = reached(WORST_CREST, fast);
    // The load of each hour as it was a day and a week ago.
    for cycle in [DAY, WEEK] {
        let meets = |point: &Point| {
            let (full, ahead) = (left(rest(point, point.max), fast), (point.at + cycle - now).max(0.0));
            ahead + ((full - ahead) / cycle).ceil().max(0.0) * cycle
        };
        earliest = totals.between(now - cycle, now).iter().map(meets).fold(earliest, f64::min);
    }
    let mean = |span: f64| mean_and_deviation(&means(totals.latest(span, LOOKS))).0;
    TimeLeft {
        likely: reached(USUAL_CREST, pace.fastest),
        earliest,
        latest: left(mean(LATELY).min(mean(DAY)), SLOWER * pace.slowest * (1.0 - doubt)),
    }
}

/// How many seconds ahead the limit is reached, where `left` are left until then by the crest that comes so far ahead: the further, the higher.
fn met(left: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, left(0.0));
    for _ in 0..24 {
        let middle = f64::midpoint(low, high);
        (low, high) = if left(middle) > middle { (middle, high) } else { (low, middle) };
    }
    high
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt())
}

/// Growth in connections per second over the last minutes, if it is more than half and ten connections; else over the last hours, or
/// over what there is of them, if it is more than the noise of a fifth and three connections.
pub fn growth(totals: &Series, now: f64) -> Option<f64> {
    let begin = totals.between(0.0, now).first()?.at;
    let over = |span: f64, share: f64, least: f64| {
        let quarter = span / 4.0;
        let past = totals.mean(now - span, now - span + quarter)?;
        let present = totals.mean(now - quarter, now)?;
        (span >= QUICK && present - past >= (share * past).max(least)).then(|| (present - past) / (span - quarter))
    };
    over(QUICK, 0.5, 10.0).or_else(|| over(TREND.min(now - begin), 0.2, 3.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A healthy rest of 40 with a crest of 60 on the hour, and a leak of one in ten seconds since 1000.
    fn totals(until: u32) -> Series {
        let mut totals = Series::default();
        for i in 0..until {
            let at = f64::from(i) * 10.0;
            let healthy = if i % 360 == 0 { 60.0 } else { 40.0 };
            totals.push(at, healthy + (at - 1000.0).max(0.0) / 10.0);
        }
        totals
    }

    const LEAKING: Leaking = Leaking { onset: 1000.0, rate: 0.1, evidence: 100.0 };

    #[test]
    fn the_leak_and_the_healthy_rest_share_the_limit() {
        let left = time_left(LEAKING, &totals(201), 200.0, 2000.0);
        assert!((left.likely - 600.0).abs() < 5.0, "100 leaked, 40 healthy, 60 left at one in ten seconds: {left:?}");
    }

    #[test]
    fn a_crest_of_the_last_half_hour_comes_back() {
        let left = time_left(LEAKING, &totals(411), 500.0, 4100.0);
        assert!((left.likely - 1300.0).abs() < 15.0, "310 leaked, 60 healthy, 130 left, and a little noise: {left:?}");
    }

    /// That of half an hour ago isn't in the last half hour, and in no minute of it.
    #[test]
    fn the_further_ahead_the_limit_the_higher_the_load_may_come() {
        let left = |limit| time_left(LEAKING, &totals(561), limit, 5600.0).likely;
        assert!((left(560.0) - 600.0).abs() < 15.0, "460 leaked, 40 healthy, 60 left: {}", left(560.0));
        assert!((left(800.0) - 2800.0).abs() < 30.0, "60 on the hour, 2000 s ago: {}", left(800.0));
    }

    /// 100 connections, and a leak of twelve an hour for five hours.
    #[test]
    fn a_load_that_was_not_seen_for_a_day_may_yet_rise() {
        let left = |watched: f64| {
            let mut totals = Series::default();
            let (now, onset) = (watched * 3600.0, (watched - 5.0) * 3600.0);
            (0..=(now / 60.0) as u32).map(|minute| f64::from(minute) * 60.0).for_each(|at| {
                totals.push(at, 100.0 + (at - onset).max(0.0) / 300.0);
            });
            let leaking = Leaking { onset, rate: 1.0 / 300.0, evidence: 60.0 };
            time_left(leaking, &totals, 250.0, now).likely / 3600.0
        };
        assert!((left(48.0) - 7.5).abs() < 0.1, "90 left at twelve an hour: {}", left(48.0));
        assert!((left(8.0) - 5.3).abs() < 0.1, "by then the load has risen by a quarter: {}", left(8.0));
    }

    #[test]
    fn rare_looks_miss_the_crests() {
        let mut totals = Series::default();
        (0..=6).for_each(|i| totals.push(f64::from(i) * 300.0, if i % 2 == 0 { 110.0 } else { 90.0 }));
        let left = time_left(Leaking { onset: 1800.0, rate: 0.1, evidence: 100.0 }, &totals, 200.0, 1800.0);
        assert!((left.likely - 740.0).abs() < 20.0, "up to 126 of them, 2.5 deviations above 101: {left:?}");
        assert!((left.earliest - 590.0 / 1.2).abs() < 20.0, "up to 141, 4 deviations above: {left:?}");
    }

    #[test]
    fn one_spike_is_not_the_noise_of_a_load_that_is_rarely_looked_at() {
        let mut totals = Series::default();
        (0..=48).for_each(|i| totals.push(f64::from(i) * 300.0, if i == 47 { 160.0 } else { 100.0 }));
        let left = time_left(Leaking { onset: 14_400.0, rate: 0.1, evidence: 100.0 }, &totals, 200.0, 14_400.0);
        assert!((left.likely - 400.0).abs() < 10.0, "160 may come again, 40 are left then: {left:?}");
    }

    /// 100 connections, 160 at noon, and a leak of ten a day since the second morning.
    #[test]
    fn the_crest_of_the_day_comes_back_each_day() {
        let mut totals = Series::default();
        let (onset, rate) = (1.25 * DAY, 10.0 / DAY);
        let now = 2.0 * DAY;
        (0..=576).map(|look| f64::from(look) * 300.0).for_each(|at| {
            let healthy = if (at % DAY - DAY / 2.0).abs() < 1800.0 { 160.0 } else { 100.0 };
            totals.push(at, healthy + rate * (at - onset).max(0.0));
        });
        let left = time_left(Leaking { onset, rate, evidence: 100.0 }, &totals, 200.0, now).likely / DAY;
        assert!(
            (3.2..=3.6).contains(&left),
            "7.5 are lost by the second midnight, the other 32.5 in three days, where the noon of each counts: {left}"
        );
    }

    #[test]
    fn the_band_holds_the_doubt_in_the_rate() {
        let left = time_left(LEAKING, &totals(201), 200.0, 2000.0);
        assert!((left.earliest - 60.0 / 0.12).abs() < 5.0, "{left:?}");
        assert!((left.latest - 60.0 / 0.064).abs() < 5.0, "{left:?}");
    }

    #[test]
    fn a_leak_that_rests_takes_no_more_room() {
        let mut totals = totals(201);
        (201..600).for_each(|i| totals.push(f64::from(i) * 10.0, 140.0));
        let left = time_left_at(Pace::steady(0.1), 2000.0, LEAKING, &totals, 200.0, 5990.0);
        assert!((left.likely - 600.0).abs() < 5.0, "as when it stopped: {left:?}");
    }

    #[test]
    fn the_fastest_of_the_late_paces_goes_on() {
        let pace = Pace { fastest: 0.3, slowest: 0.05, ..Pace::steady(0.1) };
        let left = time_left_at(pace, 2000.0, LEAKING, &totals(201), 200.0, 2000.0);
        assert!((left.likely - 200.0).abs() < 1.0, "60 left at three in ten seconds: {left:?}");
    }

    /// 100 connections, 180 of them from 9:00 to 10:00, and a leak of one in ten minutes since 22:00.
    #[test]
    fn the_crest_of_the_day_before_comes_at_its_hour() {
        let mut totals = Series::default();
        let (onset, rate) = (22.0 * 3600.0, 1.0 / 600.0);
        let now = 32.0 * 3600.0;
        (0..=(now / 60.0) as u32).map(|minute| f64::from(minute) * 60.0).for_each(|at| {
            let healthy = if (9.0..10.0).contains(&(at / 3600.0)) { 180.0 } else { 100.0 };
            totals.push(at, healthy + rate * (at - onset).max(0.0));
        });
        let leaking = Leaking { onset, rate, evidence: 60.0 };
        let left = time_left(leaking, &totals, 200.0, now);
        assert!((1800.0..=3700.0).contains(&left.likely), "60 leaked at 8:00, at 9:00 there is no room: {left:?}");
        assert!(time_left(leaking, &totals, 400.0, now).likely > 12.0 * 3600.0);
    }

    #[test]
    fn little_evidence_makes_a_wide_band() {
        let narrow = time_left(LEAKING, &totals(201), 200.0, 2000.0);
        let wide = time_left(Leaking { evidence: 4.0, ..LEAKING }, &totals(201), 200.0, 2000.0);
        assert!(wide.earliest < narrow.earliest && wide.latest > narrow.latest);
    }

    #[test]
    fn a_limit_already_reached_leaves_no_time() {
        assert_eq!(time_left(LEAKING, &totals(201), 100.0, 2000.0).likely, 0.0);
    }

    #[test]
    fn growth_is_more_than_noise() {
        let mut totals = Series::default();
        (0..400).for_each(|i| totals.push(f64::from(i) * 60.0, 50.0 + f64::from(i % 5)));
        assert_eq!(growth(&totals, 399.0 * 60.0), None);
        (400..800).for_each(|i| totals.push(f64::from(i) * 60.0, f64::from(i - 350)));
        let rate = growth(&totals, 799.0 * 60.0).expect("one a minute");
        assert!((rate * 60.0 - 1.0).abs() < 0.05, "{rate}");
    }

    #[test]
    fn a_rise_of_minutes_is_no_steadiness() {
        let risen = |calm: u32| {
            let mut totals = Series::default();
            (0..calm).for_each(|i| totals.push(f64::from(i) * 10.0, 210.0));
            (0..78).for_each(|i| totals.push(f64::from(calm + i) * 10.0, 210.0 + f64::from(i) * 8.0));
            growth(&totals, f64::from(calm + 77) * 10.0).map_or(0.0, |rate| rate * 60.0)
        };
        for calm in [0, 90, 8640] {
            assert!((40.0..=50.0).contains(&risen(calm)), "48 a minute: {}", risen(calm));
        }
    }
}
