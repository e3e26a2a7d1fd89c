//! Counts durations in bins of equal ratio, so that ten seconds and ten hours are told apart equally well.

use serde::{Deserialize, Serialize};

/// Upper edge of the first bin, seconds; shorter silences are the rhythm of ordinary traffic.
pub const SHORTEST: f64 = 10.0;
/// Each bin ends 20 % above the one before: 64 of them reach eleven days.
pub const RATIO: f64 = 1.2;
const BINS: usize = 64;

/// How often durations of each length were seen; counts are fractional because old ones fade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    #[serde(with = "serde_big_array::BigArray")]
    counts: [f32; BINS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0.0; BINS] }
    }
}

impl Histogram {
    pub fn add(&mut self, seconds: f64) {
        self.counts[bin(seconds)] += 1.0;
    }

    /// Multiplies every count by `factor` (0..=1): what happened long ago says less of today.
    pub fn fade(&mut self, factor: f64) {
        for count in &mut self.counts {
            *count *= factor as f32;
        }
    }

    /// The shortest bin edge, in seconds, that at most `share` of the durations exceed; 0 without any.
    pub fn exceeded_by(&self, share: f64) -> f64 {
        let allowed = share * self.above(0.0);
        let mut above = 0.0;
        for (index, &count) in self.counts.iter().enumerate().rev() {
            above += f64::from(count);
            if above > allowed {
                return edge(index);
            }
        }
        0.0
    }

    /// How many durations are longer than the bin that holds `seconds`; all of them for 0.
    pub fn above(&self, seconds: f64) -> f64 {
        let from = if seconds > 0.0 { bin(seconds) + 1 } else { 0 };
        self.counts[from..].iter().map(|&count| f64::from(count)).sum()
    }
}

fn bin(seconds: f64) -> usize {
    if seconds <= SHORTEST {
        return 0;
    }
    let steps = (seconds / SHORTEST).ln() / RATIO.ln();
    1 + (steps as usize).min(BINS - 2)
}

fn edge(bin: usize) -> f64 {
    SHORTEST * RATIO.powi(bin as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(durations: &[f64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|&seconds| histogram.add(seconds));
        histogram
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(of(&[]).exceeded_by(0.01), 0.0);
    }

    #[test]
    fn a_quantile_is_the_upper_edge_of_its_bin() {
        let edge = of(&[100.0]).exceeded_by(0.01);
        assert!((100.0..100.0 * RATIO).contains(&edge), "{edge}");
    }

    #[test]
    fn rare_long_durations_are_left_out() {
        let mut durations = vec![20.0; 199];
        durations.push(5000.0);
        assert!(of(&durations).exceeded_by(0.01) < 30.0);
        durations.extend([5000.0, 5000.0]);
        assert!(of(&durations).exceeded_by(0.01) > 5000.0);
    }

    #[test]
    fn above_counts_only_longer_bins() {
        let histogram = of(&[20.0, 500.0, 5000.0]);
        assert_eq!(histogram.above(0.0), 3.0);
        assert_eq!(histogram.above(500.0), 1.0);
    }

    #[test]
    fn fading_keeps_proportions() {
        let mut histogram = of(&[20.0, 20.0, 5000.0]);
        histogram.fade(0.5);
        assert_eq!(histogram.above(0.0), 1.5);
        assert!(histogram.exceeded_by(0.01) > 5000.0);
    }

    #[test]
    fn absurd_durations_stay_in_the_last_bin() {
        assert_eq!(of(&[1e12, f64::INFINITY, -1.0, f64::NAN]).above(1e5), 2.0);
    }
}
