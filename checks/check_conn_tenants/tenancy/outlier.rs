//! Which of several counts stand out above the others.
//!
//! A modified z-score (Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC 1993): the
//! distance from the median in units of 1.4826 MAD, here of logarithms, as tenants differ by factors.
//! Some changes let it hold for 3 and for 3,000 tenants:
//! - The unit is never below 1/sqrt(median + 1): by chance alone counts of arrivals vary as much (Poisson),
//!   and the MAD of few or equal counts is 0.
//! - The bound is not 3.5, which a healthy one of 2,000 passes, but sqrt(2 ln(n/0.0001)): by the
//!   tail of the normal distribution none of n passes it by chance in one of 10,000 looks.
//! - Of fewer than 10 of which most have one connection nobody stands out: those are an application's
//!   helpers (backup, monitoring) beside its pool, not its like.

/// The share of looks in which chance alone may make an outlier.
const FALSE_ALARMS: f64 = 1e-4;

/// Fewer have no others to stand out from.
const FEWEST: usize = 3;

/// So many tenants show what is usual even where that is one connection each.
const MANY: usize = 10;

/// The median of fewer tenants that can be compared.
const LEAST_MEDIAN: f64 = 2.0;

/// Turns the MAD of normal values into their standard deviation.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// The indices of the counts that stand out, which are `least` or more.
pub fn find(counts: &[u64], least: u64) -> Vec<usize> {
    if counts.len() < FEWEST {
        return Vec::new();
    }
    if counts.len() < MANY && middle(counts) < LEAST_MEDIAN {
        return Vec::new();
    }
    // From 1 on, so that no connection at all has a logarithm.
    let logs: Vec<f64> = counts.iter().map(|count| (*count as f64 + 1.0).ln()).collect();
    let centre = median(logs.clone());
    let deviation = MAD_TO_DEVIATION * median(logs.iter().map(|log| (log - centre).abs()).collect());
    let by_chance = (-centre / 2.0).exp();
    let bound = (2.0 * (counts.len() as f64 / FALSE_ALARMS).ln()).sqrt();
    let stands_out =
        |index: &usize| counts[*index] >= least && logs[*index] - centre > bound * deviation.max(by_chance);
    (0..counts.len()).filter(stands_out).collect()
}

/// The median of counts, to be said beside an outlier.
pub fn middle(counts: &[u64]) -> f64 {
    if counts.is_empty() { 0.0 } else { median(counts.iter().map(|count| *count as f64).collect()) }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_that_leaks_stands_out_of_few_and_of_many() {
        assert_eq!(find(&[5, 5, 60], 10), [2]);
        assert_eq!(find(&[40, 5, 6, 4], 10), [0]);
        assert_eq!(find(&[20, 22, 18, 25, 400], 10), [4]);
        let mut many = vec![8; 3000];
        (many[7], many[2999]) = (90, 120);
        assert_eq!(find(&many, 10), [7, 2999]);
        let mut ones = vec![1; 40];
        ones[3] = 90;
        assert_eq!(find(&ones, 10), [3]);
        let spread: Vec<u64> = (0..3000).map(|index| 2 + index % 17).chain([2000]).collect();
        assert_eq!(find(&spread, 10), [3000]);
    }

    #[test]
    fn degenerate_loads_have_no_outlier() {
        let cases: [&[u64]; 11] = [
            &[],
            &[500],
            &[1, 500],
            &[0, 0, 0],
            &[7, 7, 7, 7],
            &[0, 0, 9],
            &[80, 1, 1, 1],
            &[5, 20, 60],
            &[1, 10, 100, 1000],
            &[3, 5, 9, 14],
            &[u64::MAX, u64::MAX, u64::MAX],
        ];
        for counts in cases {
            assert_eq!(find(counts, 10), [0; 0], "{counts:?}");
        }
    }

    #[test]
    fn medians() {
        assert_eq!(middle(&[3, 1, 2]), 2.0);
        assert_eq!(middle(&[4, 1, 2, 3]), 2.5);
        assert_eq!(middle(&[]), 0.0);
    }

    /// A Poisson count by Knuth's product of uniforms, in parts as exp(-mean) is 0 for large means.
    fn poisson(mean: f64, seed: &mut u64) -> u64 {
        let (mut left, mut count) = (mean, 0);
        while left > 0.0 {
            let part = left.min(30.0);
            left -= part;
            let mut product = uniform(seed);
            while product > (-part).exp() {
                count += 1;
                product *= uniform(seed);
            }
        }
        count
    }

    /// splitmix64, in (0, 1].
    fn uniform(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (((mixed ^ (mixed >> 31)) >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    /// By the bound's promise one look of 10,000 may err; fixed seeds keep the test from doing so by chance.
    #[test]
    fn chance_alone_makes_no_outlier() {
        let mut seed = 20_261_121;
        let mut looks = 0;
        for tenants in [3, 4, 5, 7, 10, 30, 100, 300, 1000, 3000] {
            for mean in [0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 400.0] {
                for _ in 0..(6000 / tenants).clamp(2, 300) {
                    let counts: Vec<u64> = (0..tenants).map(|_| poisson(mean, &mut seed)).collect();
                    assert_eq!(find(&counts, 10), [0; 0], "{tenants} tenants of {mean}: {counts:?}");
                    looks += 1;
                }
            }
        }
        assert!(looks > 5000, "{looks}");
    }

    /// Customers of a host differ by factors: their sizes are log-normal, and their counts vary besides.
    #[test]
    fn customers_of_all_sizes_make_no_outlier() {
        let mut seed = 7;
        for tenants in [30, 300, 3000] {
            for spread in [0.5, 1.0, 1.5] {
                for _ in 0..(3000 / tenants) {
                    let mut size = || {
                        let turn = std::f64::consts::TAU * uniform(&mut seed);
                        let normal = (-2.0 * uniform(&mut seed).ln()).sqrt() * turn.cos();
                        poisson(20.0 * (spread * normal).exp(), &mut seed)
                    };
                    let counts: Vec<u64> = (0..tenants).map(|_| size()).collect();
                    assert_eq!(find(&counts, 10), [0; 0], "{tenants} of spread {spread}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn equal_loads_have_no_outlier(count in 0u64..1_000_000, tenants in 0usize..3000) {
            prop_assert_eq!(find(&vec![count; tenants], 10), [0; 0]);
        }

        #[test]
        fn what_stands_out_is_above_the_median_and_no_more_than_half(
            counts in prop::collection::vec(0u64..10_000, 0..200), least in 0u64..100,
        ) {
            let found = find(&counts, least);
            let middle = middle(&counts);
            prop_assert!(found.iter().all(|index| counts[*index] >= least && counts[*index] as f64 > middle));
            prop_assert!(found.len() * 2 <= counts.len());
            // Who has more than an outlier is one too.
            let smallest = found.iter().map(|index| counts[*index]).min();
            let all = (0..counts.len()).filter(|index| smallest.is_some_and(|smallest| counts[*index] >= smallest));
            prop_assert_eq!(all.collect::<Vec<_>>(), found);
        }

        #[test]
        fn one_that_grows_without_end_is_found(mut counts in prop::collection::vec(2u64..30, 3..300)) {
            counts.push(1_000_000);
            prop_assert_eq!(find(&counts, 10), [counts.len() - 1]);
        }
    }
}
