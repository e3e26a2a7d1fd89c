//! A number over time in bounded memory: the older, the coarser.

use serde::{Deserialize, Serialize};

/// Points kept; a full series is thinned to about [`RESOLUTION`], which takes 48 ln(10,000) = 440 of them for 10,000 samples.
const CAPACITY: usize = 512;
/// A point may stretch over this share of its age: what was an hour ago is known to a minute.
const RESOLUTION: f64 = 1.0 / 48.0;

/// One stretch of time: its start, and what the samples in it said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds on the detector's clock at the first sample of the stretch.
    pub at: f64,
    pub mean: f32,
    pub max: f32,
    /// Samples in the stretch.
    pub samples: f32,
}

/// Samples in order of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    points: Vec<Point>,
}

impl Series {
    /// Appends a sample; `at` never goes back.
    pub fn push(&mut self, at: f64, value: f64) {
        if self.points.len() >= CAPACITY {
            self.thin(at);
        }
        let value = value as f32;
        self.points.push(Point { at, mean: value, max: value, samples: 1.0 });
    }

    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|point| f64::from(point.mean))
    }

    /// The points whose stretch starts within `from..=to`.
    pub fn between(&self, from: f64, to: f64) -> &[Point] {
        let first = self.points.partition_point(|point| point.at < from);
        let end = self.points.partition_point(|point| point.at <= to);
        &self.points[first..end.max(first)]
    }

    /// The points of the last `span` seconds, and older ones until there are `least`.
    pub fn latest(&self, span: f64, least: usize) -> &[Point] {
        let end = self.points.last().map_or(0.0, |point| point.at);
        let first = self.points.partition_point(|point| point.at < end - span);
        &self.points[first.min(self.points.len().saturating_sub(least))..]
    }

    /// The highest sample within `from..=to`, 0 if there is none. A stretch that reaches into it counts whole.
    pub fn peak(&self, from: f64, to: f64) -> f64 {
        let end = self.points.partition_point(|point| point.at <= to);
        let first = self.points.partition_point(|point| point.at <= from).saturating_sub(1);
        self.points[first.min(end)..end].iter().map(|point| f64::from(point.max)).fold(0.0, f64::max)
    }

    /// The mean of the samples within `from..=to`, if there are any.
    pub fn mean(&self, from: f64, to: f64) -> Option<f64> {
        let points = self.between(from, to);
        let samples: f64 = points.iter().map(|point| f64::from(point.samples)).sum();
        let sum: f64 = points.iter().map(|point| f64::from(point.mean) * f64::from(point.samples)).sum();
        (samples > 0.0).then(|| sum / samples)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.points.capacity() * size_of::<Point>()
    }

    /// Merges neighbours as far as the resolution allows, and the older half by twos if that frees too little.
    fn thin(&mut self, now: f64) {
        self.points = merge_while(&self.points, |from, to| to - from <= RESOLUTION * (now - from));
        if self.points.len() > CAPACITY * 9 / 10 {
            let recent = self.points.split_off(CAPACITY / 2);
            self.points = self.points.chunks(2).filter_map(|pair| pair.iter().copied().reduce(merge)).collect();
            self.points.extend(recent);
        }
    }
}

/// Joins each point to the one before while `fits(start of the one before, end of the point)`.
fn merge_while(points: &[Point], fits: impl Fn(f64, f64) -> bool) -> Vec<Point> {
    let mut merged: Vec<Point> = Vec::with_capacity(CAPACITY);
    for (index, &point) in points.iter().enumerate() {
        let end = points.get(index + 1).map_or(f64::INFINITY, |next| next.at);
        match merged.last_mut() {
            Some(last) if fits(last.at, end) => *last = merge(*last, point),
            _ => merged.push(point),
        }
    }
    merged
}

fn merge(a: Point, b: Point) -> Point {
    let samples = a.samples + b.samples;
    let mean = (a.mean * a.samples + b.mean * b.samples) / samples;
    Point { at: a.at, mean, max: a.max.max(b.max), samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(samples: usize) -> Series {
        let mut series = Series::default();
        (0..samples).for_each(|i| series.push(i as f64, i as f64));
        series
    }

    #[test]
    fn memory_is_bounded() {
        assert!(ramp(100_000).points.len() <= CAPACITY);
    }

    #[test]
    fn thinning_keeps_the_mean_the_peak_and_the_newest_samples() {
        let series = ramp(10_000);
        assert!((series.mean(0.0, 1e9).unwrap() - 4999.5).abs() < 1.0);
        assert_eq!(series.peak(0.0, 1e9), 9999.0);
        assert_eq!(series.last(), Some(9999.0));
        assert_eq!(series.mean(9990.0, 9999.0), Some(9994.5));
    }

    #[test]
    fn an_empty_stretch_has_no_mean_and_no_peak() {
        let series = ramp(10);
        assert_eq!(series.mean(20.0, 30.0), None);
        assert_eq!(Series::default().peak(0.0, 30.0), 0.0);
    }
}
