//! What one chart shows: connections of a service over time, whatever they were read from.

/// A line of the chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    /// One for each time; NaN where it isn't known.
    pub values: Vec<f64>,
}

/// The service or the machine began anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restart {
    /// Index of the first sample after it.
    pub at: usize,
    pub of_machine: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    pub name: String,
    /// Where it was read.
    pub place: String,
    /// Seconds since 1970, each later than the one before.
    pub times: Vec<f64>,
    /// By state, or as the file calls them.
    pub columns: Vec<Column>,
    /// Columns of other units: for the table of numbers only.
    pub beside: Vec<Column>,
    /// What counts against the limit.
    pub connections: Vec<f64>,
    /// What the connections are called.
    pub counted: String,
    pub limit: Option<Column>,
    /// Connections by owner, the largest first.
    pub owners: Vec<Column>,
    pub restarts: Vec<Restart>,
    /// For each sample, whether the check spoke of a leak; `None`: only counts were recorded.
    pub spoken: Option<Vec<bool>>,
    /// What a reader must know of the data.
    pub notes: Vec<String>,
}

/// A longer pause than so many usual ones is a gap: nothing was seen in it.
const GAP: f64 = 3.0;
/// Owners shown by name.
const MOST_OWNERS: usize = 7;

impl Recording {
    /// The usual seconds between two samples: the median.
    pub fn pace(&self) -> f64 {
        let mut paces: Vec<f64> = self.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        paces.sort_by(f64::total_cmp);
        paces.get(paces.len() / 2).copied().unwrap_or(60.0)
    }

    /// Indices of samples after which nothing was seen for long. Where the past is kept more coarsely
    /// its samples are farther apart: a gap is one only beside its neighbours.
    pub fn gaps(&self) -> Vec<usize> {
        let pauses: Vec<f64> = self.times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let pace = self.pace();
        let usual = |at: usize| {
            let near = |index: Option<usize>| index.and_then(|index| pauses.get(index)).copied().unwrap_or(pace);
            near(at.checked_sub(1)).max(near(Some(at + 1))).max(pace)
        };
        (0..pauses.len()).filter(|at| pauses[*at] > GAP * usual(*at)).collect()
    }

    /// Index of the first sample since the last restart.
    pub fn epoch(&self) -> usize {
        self.restarts.last().map_or(0, |restart| restart.at)
    }

    /// Forgets what is older than so many seconds before the last sample.
    pub fn keep_last(&mut self, seconds: f64) {
        let Some(last) = self.times.last().copied() else { return };
        let old = self.times.partition_point(|time| *time < last - seconds);
        self.times.drain(..old);
        self.connections.drain(..old);
        let columns = self.columns.iter_mut().chain(&mut self.beside);
        for column in columns.chain(&mut self.owners).chain(&mut self.limit) {
            column.values.drain(..old);
        }
        self.spoken.iter_mut().for_each(|spoken| drop(spoken.drain(..old)));
        self.restarts.retain(|restart| restart.at > old);
        self.restarts.iter_mut().for_each(|restart| restart.at -= old);
    }

    /// The last known limit.
    pub fn last_limit(&self) -> Option<f64> {
        self.limit.as_ref()?.values.iter().rev().copied().find(|limit| limit.is_finite())
    }
}

/// The largest owners by name, all others together.
pub fn largest(mut owners: Vec<Column>, samples: usize) -> Vec<Column> {
    let most = |column: &Column| column.values.iter().copied().fold(0.0, f64::max);
    owners.sort_by(|a, b| most(b).total_cmp(&most(a)).then_with(|| a.name.cmp(&b.name)));
    if owners.len() > MOST_OWNERS {
        let mut other = Column { name: "all others".to_owned(), values: vec![0.0; samples] };
        for column in owners.drain(MOST_OWNERS..) {
            other.values.iter_mut().zip(column.values).for_each(|(sum, value)| *sum += value);
        }
        owners.push(other);
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_long_beside_its_neighbours() {
        let recording = |times: &[f64]| Recording { times: times.to_vec(), ..Recording::default() };
        assert_eq!(recording(&[0.0, 60.0, 120.0, 600.0, 660.0, 720.0]).gaps(), [2]);
        // Hours, then minutes: no gap, and one in the hours.
        let mut times: Vec<f64> = (0..10).map(|hour| f64::from(hour) * 3600.0).collect();
        times.extend((1..100).map(|minute| 9.0 * 3600.0 + f64::from(minute) * 60.0));
        assert_eq!(recording(&times).gaps(), [0; 0]);
        times.remove(4);
        times.remove(4);
        times.remove(4);
        assert_eq!(recording(&times).gaps(), [3]);
        assert_eq!(recording(&[5.0]).gaps(), [0; 0]);
    }

    #[test]
    fn small_owners_are_shown_together() {
        let column = |count: u32| Column { name: format!("unit {count}"), values: vec![f64::from(count); 2] };
        let owners = largest((1..=9).map(column).collect(), 2);
        assert_eq!(owners.len(), MOST_OWNERS + 1);
        assert_eq!(owners[0].name, "unit 9");
        assert_eq!(owners[7], Column { name: "all others".into(), values: vec![3.0, 3.0] });
    }
}
