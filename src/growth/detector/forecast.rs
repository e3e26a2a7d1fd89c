//! When the limit is reached: the leak goes on at its rate, the healthy rest goes as high as it lately did.

use super::series::Series;

/// Seconds of the past whose crest the healthy rest will reach again: load an hour from now is most like load just now.
const LATELY: f64 = 1800.0;
/// Seconds of the past whose crest is the worst to expect: a daily load comes back.
const DAY: f64 = 86_400.0;

/// Seconds over which growth is told from steadiness.
const TREND: f64 = 4.0 * 3600.0;

/// Seconds until the limit is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimeLeft {
    pub likely: f64,
    /// The rate two standard deviations higher, the healthy rest at its highest of a day.
    pub earliest: f64,
    /// The rate two standard deviations lower, the healthy rest at its recent mean.
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

pub fn time_left(leaking: Leaking, totals: &Series, limit: f64, now: f64) -> TimeLeft {
    let leaked = |at: f64| leaking.rate * (at - leaking.onset).max(0.0);
    let rest = |past: f64| {
        let points = totals.between(now - past, now).iter();
        points.map(|point| (f64::from(point.mean) - leaked(point.at)).max(0.0)).collect::<Vec<f64>>()
    };
    let crest = |past: f64| rest(past).into_iter().fold(0.0, f64::max);
    let lately = rest(LATELY);
    let mean = lately.iter().sum::<f64>() / lately.len().max(1) as f64;
    // Leaks come one by one: a count of n is uncertain by about its root.
    let doubt = (2.0 / leaking.evidence.max(1.0).sqrt()).min(0.9);
    let left = |healthy: f64, rate: f64| ((limit - healthy - leaked(now)) / rate.max(1e-9)).max(0.0);
    TimeLeft {
        likely: left(crest(LATELY), leaking.rate),
        earliest: left(crest(DAY), leaking.rate * (1.0 + doubt)),
        latest: left(mean, leaking.rate * (1.0 - doubt)),
    }
}

/// Growth over the last hours in connections per second, if it is more than the noise of a fifth and three connections.
pub fn growth(totals: &Series, now: f64) -> Option<f64> {
    let quarter = TREND / 4.0;
    let past = totals.mean(now - TREND, now - TREND + quarter)?;
    let present = totals.mean(now - quarter, now)?;
    (present - past >= (0.2 * past).max(3.0)).then(|| (present - past) / (TREND - quarter))
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
        assert!((left.likely - 600.0).abs() < 1.0, "100 leaked, 40 healthy, 60 left at one in ten seconds: {left:?}");
    }

    #[test]
    fn a_crest_of_the_last_half_hour_comes_back() {
        let left = time_left(LEAKING, &totals(411), 500.0, 4100.0);
        assert!((left.likely - 1300.0).abs() < 1.0, "310 leaked, 60 healthy, 130 left: {left:?}");
    }

    #[test]
    fn the_band_holds_the_crest_of_a_day_and_the_doubt_in_the_rate() {
        let left = time_left(LEAKING, &totals(201), 200.0, 2000.0);
        assert!((left.earliest - 40.0 / 0.12).abs() < 1.0, "{left:?}");
        assert!((left.latest - 60.0 / 0.08).abs() < 1.0, "{left:?}");
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
}
