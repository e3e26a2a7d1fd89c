//! Each rule of the detector against a small simulated service: remove the rule and its test fails.

use connleak::growth::detector::*;

/// A connection of the simulated service; instants in seconds.
#[derive(Debug, Clone, Copy)]
struct Life {
    group: u32,
    born: f64,
    /// Last data; later than `gone`: busy to the end.
    last: f64,
    /// The peer's FIN.
    fin: f64,
    gone: f64,
}

const NEVER: f64 = f64::INFINITY;

/// Opened at `born`, used for five seconds, never closed.
fn lost(group: u32, born: f64) -> Life {
    Life { group, born, last: born + 5.0, fin: NEVER, gone: NEVER }
}

/// Opened at `born`, in use until it is closed.
fn busy(group: u32, born: f64, gone: f64) -> Life {
    Life { group, born, last: NEVER, fin: NEVER, gone }
}

/// Times from `start` to `end`, one each `step` seconds.
fn every(step: f64, start: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |i| start + f64::from(i) * step).take_while(move |&at| at < end)
}

/// A simulated service and its checks.
struct Service {
    lives: Vec<Life>,
    interval: f64,
    limit: u32,
    /// Instants at which the process is another one.
    restarts: Vec<f64>,
    time_wait: fn(f64) -> u32,
}

impl Service {
    /// Requests of 20 to 100 seconds in group 1, some ten at a time: closing is a habit there.
    fn new(lives: impl IntoIterator<Item = Life>) -> Self {
        let requests =
            every(6.0, 0.0, 90_000.0).enumerate().map(|(i, born)| busy(1, born, born + 20.0 + (i % 9) as f64 * 10.0));
        Self {
            lives: requests.chain(lives).collect(),
            interval: 60.0,
            limit: 200,
            restarts: Vec::new(),
            time_wait: |_| 0,
        }
    }

    fn sample(&self, now: f64) -> Sample {
        let epoch = self.restarts.iter().copied().filter(|&at| at <= now).fold(f64::MIN, f64::max);
        let mut sample = Sample {
            wall: 1e9 + now,
            uptime: 1e5 + now,
            boot: 1,
            service: 1 + self.restarts.iter().filter(|&&at| at <= now).count() as u64,
            time_wait: (self.time_wait)(now),
            ..Sample::default()
        };
        for (cookie, life) in self.lives.iter().enumerate() {
            if life.born > now || life.gone <= now || life.born < epoch {
                continue;
            }
            let state = if life.fin <= now { State::CloseWait } else { State::Established };
            let silent_since = if life.fin <= now { life.fin } else { life.last.min(now) };
            let idle = (now - silent_since).floor();
            sample.sockets.push(Socket { cookie: cookie as u64, group: life.group, state, idle });
            *(if state == State::CloseWait { &mut sample.close_wait } else { &mut sample.established }) += 1;
        }
        sample
    }

    /// All verdicts up to `end`, with their instants.
    fn verdicts(&self, end: f64) -> Vec<(f64, Verdict)> {
        let mut detector = Detector::new(self.interval, self.limit);
        every(self.interval, 0.0, end).map(|now| (now, detector.step(&self.sample(now)))).collect()
    }

    fn first_leak(&self, end: f64) -> Option<(f64, Leak)> {
        self.verdicts(end).into_iter().find_map(|(now, verdict)| match verdict {
            Verdict::Leak(leak) => Some((now, leak)),
            _ => None,
        })
    }
}

#[track_caller]
fn assert_quiet(service: &Service, end: f64) {
    assert_eq!(service.first_leak(end), None);
}

#[test]
fn learns_before_it_judges() {
    let verdicts = Service::new([]).verdicts(600.0);
    assert_eq!(verdicts[0].1, Verdict::Learning { samples: 1 });
    assert_eq!(verdicts[9].1, Verdict::Steady);
}

#[test]
fn a_leak_among_requests_is_found_with_group_onset_rate_and_time_left() {
    let service = Service::new(every(120.0, 10_000.0, 30_000.0).map(|born| lost(1, born)));
    let (found, _) = service.first_leak(20_000.0).expect("leak");
    assert!((10_360.0..11_200.0).contains(&found), "found at {found}");
    let (now, last) = service.verdicts(20_000.0).pop().expect("samples");
    let Verdict::Leak(leak) = last else { panic!("{last:?}") };
    assert_eq!((leak.group, leak.witness), (1, Witness::Silence));
    assert!((now - leak.onset - 10_005.0).abs() < 30.0, "{leak:?}");
    assert!((leak.rate * 120.0 - 1.0).abs() < 0.05, "{leak:?}");
    let truth = (200.0 - 83.0 - 12.0) * 120.0;
    assert!((leak.left.earliest..leak.left.latest).contains(&truth), "{truth}: {leak:?}");
    assert!((leak.left.likely - truth).abs() < 0.2 * truth, "{truth}: {leak:?}");
}

#[test]
fn close_wait_needs_no_habit_of_closing() {
    let hung_up = |born: f64| Life { fin: born + 10.0, ..lost(2, born) };
    let service = Service::new(every(120.0, 10_000.0, 30_000.0).map(hung_up));
    assert!(service.first_leak(12_000.0).is_some());
}

#[test]
fn a_group_that_never_closes_must_take_half_of_the_headroom() {
    let service = Service::new(every(120.0, 90_000.0, 110_000.0).map(|born| lost(2, born)));
    assert_quiet(&service, 98_000.0);
    assert!(service.first_leak(104_000.0).is_some());
}

/// It may be growing to its size, and whoever closes late is in the first round.
#[test]
fn on_the_first_day_it_must_take_three_quarters() {
    let service = Service::new(every(120.0, 10_000.0, 30_000.0).map(|born| lost(2, born)));
    assert_quiet(&service, 24_000.0);
    assert!(service.first_leak(28_000.0).is_some());
    let in_use = Service::new(every(120.0, 10_000.0, 30_000.0).map(|born| busy(2, born, NEVER)));
    assert_quiet(&in_use, 24_000.0);
    assert!(in_use.first_leak(28_000.0).is_some());
}

#[test]
fn where_the_limit_is_an_hour_away_the_first_day_waits_for_no_more() {
    let service = Service::new(every(20.0, 10_000.0, 14_000.0).map(|born| lost(2, born)));
    let (found, leak) = service.first_leak(12_500.0).expect("leak");
    assert!(leak.left.likely > 1200.0, "{found}: {leak:?}");
}

#[test]
fn one_event_is_no_leak() {
    let service = Service::new(every(1.0, 10_000.0, 10_015.0).map(|born| lost(1, born)));
    assert_quiet(&service, 20_000.0);
}

#[test]
fn a_warm_up_shorter_than_the_bar_is_no_leak() {
    let service = Service::new(every(5.0, 10_000.0, 10_110.0).map(|born| lost(1, born)));
    assert_quiet(&Service { interval: 10.0, ..service }, 12_000.0);
}

#[test]
fn a_long_pause_ends_a_stream() {
    let lives = [10_000.0, 10_300.0, 10_600.0, 20_000.0, 20_300.0].map(|born| lost(1, born));
    assert_quiet(&Service::new(lives), 22_000.0);
}

/// A deploy leaves connections that fall silent within a minute: two of them are two instants, whenever they are looked at.
#[test]
fn two_deploys_are_no_stream() {
    let drained = |deploy: f64| every(6.0, deploy, deploy + 60.0).map(|born| lost(1, born));
    assert_quiet(&Service::new(drained(20_000.0).chain(drained(23_000.0))), 40_000.0);
}

#[test]
fn neither_are_three() {
    let drained = |deploy: f64| every(2.0, deploy, deploy + 24.0).map(|born| lost(1, born));
    let deploys = [20_000.0, 22_500.0, 24_400.0].into_iter().flat_map(drained);
    assert_quiet(&Service::new(deploys), 40_000.0);
}

#[test]
fn a_stream_that_dies_out_is_no_leak() {
    let early = every(60.0, 10_000.0, 10_180.0).chain([10_400.0, 10_800.0, 11_900.0, 14_500.0, 19_000.0]);
    assert_quiet(&Service::new(early.map(|born| lost(1, born))), 30_000.0);
}

#[test]
fn silences_no_longer_than_usual_ones_are_no_leak() {
    let keepalive = |born: f64| Life { gone: born + 2400.0, ..lost(1, born) };
    assert_quiet(&Service::new(every(100.0, -2400.0, 30_000.0).map(keepalive)), 30_000.0);
}

#[test]
fn rare_long_silences_that_keep_ending_are_a_habit() {
    // Waves of eight long silences are too rare for the quantile to see; that they always end in time is not.
    let slow = |born: f64| Life { gone: born + 5000.0, ..lost(1, born) };
    let brief = |born: f64| Life { gone: born + 70.0, ..lost(1, born) };
    let waves = every(20_000.0, 3000.0, 90_000.0).flat_map(|wave| every(400.0, wave, wave + 3200.0)).map(slow);
    let service = Service { limit: 600, ..Service::new(waves.chain(every(4.0, 0.0, 90_000.0).map(brief))) };
    let late = service.verdicts(89_000.0).into_iter().filter(|(now, _)| *now > 60_000.0);
    assert_eq!(late.filter(|(_, verdict)| matches!(verdict, Verdict::Leak(_))).count(), 0);
}

#[test]
fn silences_longer_than_a_sixth_of_the_time_watched_take_a_quarter_of_the_headroom() {
    let keepalive = |born: f64| Life { gone: born + 2400.0, ..lost(1, born) };
    let leak = every(120.0, 3000.0, 30_000.0).map(|born| lost(1, born));
    let service = Service::new(every(100.0, -2400.0, 30_000.0).map(keepalive).chain(leak));
    assert_quiet(&service, 9000.0);
    assert!(service.first_leak(14_000.0).is_some());
}

#[test]
fn a_pool_that_falls_idle_at_night_has_grown_by_nothing() {
    // Forty connections opened by day; from 20,000 s on one after another falls silent for good.
    let lives = (0..40).map(|i| Life { last: 20_000.0 + f64::from(i) * 300.0, ..lost(1, 500.0 + f64::from(i)) });
    assert_quiet(&Service::new(lives), 50_000.0);
}

#[test]
fn a_restart_clears_the_alarm_and_teaches_no_silences() {
    let mut service = Service::new(every(120.0, 10_000.0, 60_000.0).map(|born| lost(1, born)));
    service.restarts = vec![18_000.0];
    let verdicts = service.verdicts(26_000.0);
    let leaks = |from: f64, to: f64| {
        verdicts.iter().filter(|(now, v)| (from..to).contains(now) && matches!(v, Verdict::Leak(_))).count()
    };
    assert!(leaks(11_500.0, 18_000.0) > 100);
    assert_eq!(leaks(18_000.0, 18_360.0), 0);
    assert!(leaks(19_500.0, 26_000.0) > 100, "the second round is found as fast as the first");
}

#[test]
fn a_restart_nobody_told_of_shows_by_busy_sockets_that_vanish() {
    let mut service = Service::new(every(120.0, 10_000.0, 60_000.0).map(|born| lost(1, born)));
    service.lives.extend((0..5).flat_map(|_| [busy(3, 0.0, 90_000.0), busy(3, 18_001.0, 90_000.0)]));
    service.restarts = vec![18_000.0];
    let mut detector = Detector::new(60.0, 200);
    let hidden = |now: f64| Sample { service: 0, ..service.sample(now) };
    let verdicts: Vec<Verdict> = every(60.0, 0.0, 20_000.0).map(|now| detector.step(&hidden(now))).collect();
    assert!(matches!(verdicts.last(), Some(Verdict::Leak(_))), "{:?}", verdicts.last());
}

#[test]
fn a_leak_that_rests_is_reported_for_as_long_as_it_had_gone_on() {
    let service = Service { limit: 400, ..Service::new(every(240.0, 10_000.0, 30_000.0).map(|born| lost(1, born))) };
    let verdicts = service.verdicts(89_000.0);
    let first = service.first_leak(20_000.0).expect("a leak").0;
    for (now, verdict) in verdicts.iter().filter(|(now, _)| (first..48_000.0).contains(now)) {
        let Verdict::Leak(leak) = verdict else { panic!("{now}: {verdict:?}") };
        assert!(leak.left.likely > 6.0 * 3600.0, "nothing is added while it rests: {leak:?}");
    }
}

#[test]
fn a_leak_that_has_stopped_is_not_reported_for_ever() {
    let service = Service::new(every(120.0, 10_000.0, 14_000.0).map(|born| lost(1, born)));
    let (_, last) = service.verdicts(30_000.0).pop().expect("samples");
    assert!(service.first_leak(14_000.0).is_some());
    assert!(!matches!(last, Verdict::Leak(_)), "{last:?}");
}

#[test]
fn a_leak_that_grows_faster_is_told_in_time() {
    // One in four minutes, from 20,000 s on one in forty seconds: at 21,000 s there is room for 44 more.
    let lives = every(240.0, 10_000.0, 20_000.0).chain(every(40.0, 20_000.0, 40_000.0)).map(|born| lost(1, born));
    let service = Service { limit: 160, ..Service::new(lives) };
    let full = every(60.0, 20_000.0, 40_000.0).find(|&now| service.sample(now).total() >= 160.0).expect("full");
    for (now, verdict) in service.verdicts(full).into_iter().filter(|(now, _)| *now > 22_400.0) {
        let Verdict::Leak(leak) = verdict else { panic!("{now}: {verdict:?}") };
        assert!(leak.left.likely < 1.6 * (full - now) + 120.0, "{} left at {now}: {leak:?}", full - now);
    }
}

#[test]
fn bursts_don_t_make_the_time_left_flap() {
    let burst = |at: f64| every(15.0, at, at + 120.0).map(|born| lost(1, born));
    let service = Service { limit: 180, ..Service::new(every(1200.0, 10_000.0, 90_000.0).flat_map(burst)) };
    let verdicts = service.verdicts(36_000.0);
    for limit in every(300.0, 900.0, 9000.0) {
        let (mut under, mut flips) = (false, 0);
        for (_, verdict) in &verdicts {
            let Verdict::Leak(leak) = verdict else { continue };
            flips += u32::from(std::mem::replace(&mut under, leak.left.likely < limit) != under);
        }
        assert!(under && flips <= 1, "{flips} at {limit}");
    }
}

#[test]
fn a_leak_that_is_cleaned_up_is_over_at_once() {
    let swept = |born: f64| Life { gone: 16_000.0, ..lost(1, born) };
    let service = Service::new(every(120.0, 10_000.0, 16_000.0).map(swept));
    let leaking = |from: f64| {
        let verdicts = service.verdicts(17_000.0).into_iter();
        verdicts.filter(move |(now, v)| *now >= from && matches!(v, Verdict::Leak(_))).count()
    };
    assert!(leaking(15_000.0) > 10);
    assert_eq!(leaking(16_000.0), 0);
}

#[test]
fn a_fast_leak_does_not_wait_for_the_bar() {
    let mut service = Service::new(every(1.0, 10_000.0, 11_000.0).map(|born| lost(1, born)));
    service.interval = 10.0;
    let (found, _) = service.first_leak(10_180.0).expect("leak");
    assert!(found <= 10_090.0, "found at {found}");
}

#[test]
fn busy_leaks_are_found_by_their_growth_once_half_of_the_headroom_is_gone() {
    let service = Service::new(every(120.0, 10_000.0, 90_000.0).map(|born| busy(2, born, NEVER)));
    assert_quiet(&service, 20_000.0);
    let (_, leak) = service.first_leak(30_000.0).expect("leak");
    assert_eq!((leak.group, leak.witness), (2, Witness::Cohort));
}

#[test]
fn growth_in_step_with_traffic_is_load() {
    let mut service = Service::new(every(120.0, 10_000.0, 90_000.0).map(|born| busy(2, born, NEVER)));
    service.time_wait = |now| (20.0 * (now / 6000.0).exp2()) as u32;
    let verdicts = service.verdicts(30_000.0);
    assert!(verdicts.iter().all(|(_, verdict)| !matches!(verdict, Verdict::Leak(_))));
    assert!(matches!(verdicts.last(), Some((_, Verdict::Growing { .. }))));
}

#[test]
fn a_pool_that_fills_up_slows_down() {
    let filling = (1..=90).map(|i| busy(2, 10_000.0 - 6000.0 * (1.0 - f64::from(i) / 91.0).ln(), NEVER));
    assert_quiet(&Service { limit: 130, ..Service::new(filling) }, 60_000.0);
}

#[test]
fn connections_that_live_as_long_as_others_did_are_no_cohort() {
    let sessions = every(120.0, -14_000.0, 60_000.0).map(|born| busy(2, born, born + 14_000.0));
    let mut service = Service::new(sessions);
    service.restarts = vec![25_000.0];
    assert_quiet(&service, 60_000.0);
}

/// Connections opened at `at` and anew each half hour, which is their maximum lifetime; `used`: until when after each opening.
fn recycled(group: u32, at: f64, used: f64) -> impl Iterator<Item = Life> {
    every(1800.0, at, 90_000.0).map(move |born| Life {
        group,
        born,
        last: if used < 1800.0 { born + used } else { NEVER },
        fin: NEVER,
        gone: born + 1799.0,
    })
}

/// A pool of eight from the start on, and five connections more each ten minutes from 10,000 s on.
fn pools_opened_anew(used: f64) -> Service {
    let pool = (0..8).flat_map(|member| recycled(2, f64::from(member) * 200.0, 1800.0));
    let more = every(600.0, 10_000.0, 40_000.0)
        .flat_map(move |at| (0..5).flat_map(move |member| recycled(2, at + f64::from(member), used)));
    Service::new(pool.chain(more))
}

#[test]
fn lost_pools_that_renew_their_connections_are_found_once_half_of_the_headroom_is_gone() {
    let service = pools_opened_anew(1.0);
    let full = every(60.0, 10_000.0, 40_000.0).find(|&now| service.sample(now).total() >= 200.0).expect("full");
    let (found, leak) = service.first_leak(full).expect("leak");
    assert_eq!((leak.group, leak.witness), (2, Witness::Cohort));
    let left = (full - found) / (full - 10_000.0);
    assert!((0.25..0.5).contains(&left), "found at {found}, {left} of the way left");
    let told = service.verdicts(full).into_iter().filter(|(now, _)| *now > found);
    let (mut looks, mut held) = (0, 0);
    told.for_each(|(_, verdict)| {
        looks += 1;
        held += u32::from(matches!(verdict, Verdict::Leak(_)));
    });
    assert!(held * 100 >= looks * 95, "{held} of {looks}");
}

#[test]
fn pools_that_are_in_use_and_renew_their_connections_are_load() {
    assert_quiet(&pools_opened_anew(1800.0), 40_000.0);
}

#[test]
fn a_pool_that_rests_and_renews_its_connections_is_no_leak() {
    // Worked with until 20,000 s, one connection after another rests from then on. Their lifetimes differ, so that a few are new at any time.
    let member = |member: u32| {
        let (life, rests) = (1300.0 + f64::from(member) * 14.0, 20_000.0 + f64::from(member) * 120.0);
        every(life, f64::from(member) * 14.0, 60_000.0).map(move |born| {
            let last = if born > rests { born + 1.0 } else { rests };
            Life { group: 2, born, last, fin: NEVER, gone: born + life - 1.0 }
        })
    };
    assert_quiet(&Service { limit: 110, ..Service::new((0..70).flat_map(member)) }, 40_000.0);
}

#[test]
fn dead_connections_that_a_pool_finds_late_are_its_spares() {
    // The peer hangs up after 15 s; the first six are borrowed and replaced each ten minutes, ever deeper ones never.
    let dead = |born: f64, gone: f64| Life { fin: born + 15.0, gone, ..lost(2, born) };
    let borrowed = (0..6).flat_map(|member| every(600.0, f64::from(member) * 7.0, 90_000.0));
    let deeper = every(900.0, 10_000.0, 90_000.0).map(|born| dead(born, NEVER));
    let service = Service::new(borrowed.map(|born| dead(born, born + 599.0)).chain(deeper));
    assert_quiet(&service, 40_000.0);
    assert!(service.first_leak(70_000.0).is_some(), "a quarter of the headroom is more than a pool that grows");
}

#[test]
fn a_pool_that_has_found_its_size_keeps_its_spares() {
    // Six from the start, and from 10,000 to 16,000 s it grows; each member is borrowed and replaced each ten minutes, until it rests: the
    // first at 13,000 s, one more each five minutes, long after the last was added.
    let member = |member: u32| {
        let start = if member < 6 { f64::from(member) * 7.0 } else { 10_000.0 };
        let (added, rests) = (start + f64::from(member) * 100.0, 13_000.0 + f64::from(member) * 300.0);
        every(600.0, added, rests).map(move |born| {
            let gone = if born + 600.0 < rests { born + 599.0 } else { NEVER };
            Life { fin: born + 15.0, gone, ..lost(2, born) }
        })
    };
    assert_quiet(&Service { limit: 150, ..Service::new((0..60).flat_map(member)) }, 40_000.0);
}

#[test]
fn the_first_closes_of_a_deploy_are_no_habit() {
    // 60 connections, of which nine were ever renewed; then as many of the new version beside them, and the old ones drain, four of them in silence.
    let renewed = (0..9)
        .flat_map(|i| [busy(2, -100.0, 2000.0 + f64::from(i) * 500.0), busy(2, 2001.0 + f64::from(i) * 500.0, NEVER)]);
    let old = (0..47).map(|i| busy(2, -100.0, 10_500.0 + f64::from(i) * 30.0));
    let silent = (0..4).map(|i| Life { last: 10_000.0 + f64::from(i) * 60.0, gone: 11_500.0, ..lost(2, -100.0) });
    let new = (0..60).map(|i| busy(2, 10_000.0 + f64::from(i), NEVER));
    assert_quiet(&Service::new(renewed.chain(old).chain(silent).chain(new)), 14_000.0);
}

/// A hundred lost before the first look, one more each two minutes; requests are another owner's.
fn begun_before() -> impl Iterator<Item = Life> {
    (1..=100).map(|i| f64::from(i) * -120.0).chain(every(120.0, 0.0, 30_000.0)).map(|born| lost(2, born))
}

#[test]
fn a_leak_that_is_older_than_the_history_needs_no_past() {
    let (found, leak) = Service::new(begun_before()).first_leak(10_000.0).expect("leak");
    assert!(found < 5000.0 && leak.group == 2, "three quarters of the headroom are gone: {found}: {leak:?}");
}

#[test]
fn an_owner_that_works_with_one_connection_has_a_past() {
    let one = (0..2).map(|i| busy(2, -100.0 - f64::from(i), NEVER));
    assert_quiet(&Service::new(begun_before().chain(one)), 5000.0);
}

#[test]
fn a_rush_to_the_limit_is_caught_by_the_backstop() {
    // The group's habit is to stay silent for an hour, so that no bar can be reached in time.
    let keepalive = |born: f64| Life { gone: born + 3600.0, ..lost(1, born) };
    let lives =
        every(100.0, -3600.0, 20_000.0).map(keepalive).chain(every(0.5, 10_000.0, 10_070.0).map(|b| lost(1, b)));
    let service = Service { interval: 10.0, ..Service::new(lives) };
    let (found, leak) = service.first_leak(10_100.0).expect("leak");
    assert_eq!(leak.witness, Witness::Backstop);
    assert!(found > 10_000.0);
}

/// Keep-alives of an hour, so that no bar is reached in time, and a rush of newcomers from `at` on.
fn rush(at: f64, newcomer: fn(f64) -> Life) -> Vec<Life> {
    let keepalive = |born: f64| Life { gone: born + 3600.0, ..lost(1, born) };
    every(100.0, -3600.0, 40_000.0).map(keepalive).chain(every(0.5, at, at + 70.0).map(newcomer)).collect()
}

#[test]
fn a_rush_of_busy_newcomers_is_load() {
    let lives = rush(10_000.0, |born| busy(1, born, 11_000.0));
    assert_quiet(&Service { interval: 10.0, ..Service::new(lives) }, 12_000.0);
}

#[test]
fn a_rush_to_where_the_service_has_been_before_is_no_leak() {
    let mut lives = rush(20_000.0, |born| Life { gone: born + 200.0, ..lost(1, born) });
    lives.extend(every(0.5, 10_000.0, 10_070.0).map(|born| busy(1, born, 10_500.0)));
    assert_quiet(&Service { interval: 10.0, ..Service::new(lives) }, 20_400.0);
}

#[test]
fn a_deploy_that_fills_its_pools_in_ten_minutes_is_no_cohort() {
    let pools = every(4.0, 10_000.0, 10_600.0).map(|born| busy(2, born, NEVER));
    assert_quiet(&Service::new(pools), 20_000.0);
}

/// What renews its connections has as many all the time.
#[test]
fn lasting_connections_that_are_swept_leave_no_alarm() {
    let swept = 28_500.0;
    let service = Service::new(every(120.0, 10_000.0, 28_000.0).map(|born| busy(2, born, swept)));
    let told = |from: f64| service.verdicts(from).pop().is_some_and(|(_, told)| matches!(told, Verdict::Leak(_)));
    assert!(told(swept), "a cohort");
    assert!(!told(swept + 121.0));
}

#[test]
fn two_steps_with_a_long_pause_are_no_cohort() {
    let steps = every(10.0, 10_000.0, 10_450.0).chain(every(10.0, 16_000.0, 16_450.0));
    assert_quiet(&Service { limit: 130, ..Service::new(steps.map(|born| busy(2, born, NEVER))) }, 30_000.0);
}

#[test]
fn a_full_fixed_pool_is_healthy() {
    let pool = (0..190).map(|i| busy(1, f64::from(i) - 200.0, NEVER));
    assert_quiet(&Service::new(pool), 20_000.0);
}

#[test]
fn two_runs_in_one_instant_and_an_empty_table_do_no_harm() {
    let service = Service::new(every(120.0, 10_000.0, 30_000.0).map(|born| lost(1, born)));
    let mut detector = Detector::new(60.0, 200);
    for now in every(60.0, 0.0, 15_000.0) {
        let sample = service.sample(now);
        assert_eq!(detector.step(&sample), detector.step(&sample));
    }
    assert!(!matches!(
        detector.step(&Sample { uptime: 2e5, boot: 1, service: 1, ..Sample::default() }),
        Verdict::Leak(_)
    ));
}

#[test]
fn a_sample_of_the_sockets_stands_for_all_of_them() {
    let service = Service::new(every(30.0, 10_000.0, 30_000.0).map(|born| lost(1, born)));
    let mut detector = Detector::new(60.0, 800);
    let mut rate = 0.0;
    for now in every(60.0, 0.0, 16_000.0) {
        let mut sample = service.sample(now);
        sample.sockets.retain(|socket| socket.cookie % 2 == 0);
        if let Verdict::Leak(leak) = detector.step(&sample) {
            rate = leak.rate;
        }
    }
    assert!((rate * 30.0 - 1.0).abs() < 0.2, "{rate}");
}

#[test]
fn ten_thousand_samples_keep_the_state_small() {
    let service = Service::new((0..40).map(|i| busy(10 + i, 0.0, NEVER)));
    let mut detector = Detector::new(60.0, 400);
    let mut sample = service.sample(50_000.0);
    for i in 0..10_000 {
        sample.uptime += 60.0;
        sample.sockets.iter_mut().for_each(|socket| socket.idle = f64::from(i % 7));
        detector.step(&sample);
    }
    assert!(detector.bytes() < 2 << 20, "{} bytes", detector.bytes());
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    /// Up to `below`.
    fn throw(&mut self, below: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64 * below
    }
}

const DAY: f64 = 86_400.0;

/// A service whose connections arrive by chance, more of them at noon, and live for 10 to 130 seconds.
fn busy_day(dice: &mut Dice, lives: impl IntoIterator<Item = Life>) -> Service {
    let mut service = Service { interval: 120.0, ..Service::new(lives) };
    service.lives.retain(|life| life.group != 1 || life.gone == NEVER);
    let mut at = 0.0;
    while at < DAY {
        at += 0.5 + dice.throw(if (DAY * 0.3..DAY * 0.7).contains(&at) { 8.0 } else { 30.0 });
        service.lives.push(busy(1, at, at + 10.0 + dice.throw(120.0)));
    }
    service
}

/// Days of the kinds that CONTRIBUTING's benchmark has many more of: what must be found, what must not.
#[test]
fn a_short_set_of_days_is_judged_well() {
    let (mut alarms, mut found, mut early, mut leads) = (0, 0, 0, Vec::new());
    for seed in 1..=2 {
        let dice = &mut Dice(seed);
        let pool = |size: u32| (0..size).map(|member| busy(1, f64::from(member), NEVER));
        let swept =
            every(40.0, 0.0, DAY).map(|born| Life { gone: (born / 1800.0).ceil() * 1800.0 + 60.0, ..lost(2, born) });
        let idle_at_night = (0..40).map(|member| Life { last: DAY * 0.6, ..busy(2, f64::from(member), NEVER) });
        let jobs = (0..12)
            .flat_map(|job| every(1.0, f64::from(job) * 7200.0, f64::from(job) * 7200.0 + 30.0))
            .map(|born| busy(2, born, born + 1500.0));
        let mut deployed = busy_day(dice, pool(30));
        deployed.restarts = vec![DAY * 0.25, DAY * 0.5];
        let healthy = [
            busy_day(dice, []),
            busy_day(dice, pool(60)),
            busy_day(dice, swept),
            busy_day(dice, idle_at_night),
            busy_day(dice, jobs),
            deployed,
        ];
        for service in &healthy {
            alarms += u32::from(service.first_leak(DAY).is_some());
        }
        let onset = DAY * 0.3 + dice.throw(3600.0);
        let by_chance = |dice: &mut Dice, mean: f64| {
            let mut at = onset;
            std::iter::from_fn(|| {
                at += dice.throw(2.0 * mean);
                (at < DAY).then_some(at)
            })
            .collect::<Vec<f64>>()
        };
        let hung_up = |born: &f64| Life { fin: born + 10.0, ..lost(3, *born) };
        let in_bursts = |born: &f64| (0..6).map(|after| lost(1, born + f64::from(after) * 20.0)).collect::<Vec<_>>();
        let leaks = [
            by_chance(dice, 120.0).iter().map(|born| lost(1, *born)).collect::<Vec<_>>(),
            by_chance(dice, 300.0).iter().map(|born| lost(1, *born)).collect(),
            by_chance(dice, 200.0).iter().map(hung_up).collect(),
            by_chance(dice, 900.0).iter().flat_map(in_bursts).collect(),
            by_chance(dice, 150.0).iter().map(|born| busy(1, *born, NEVER)).collect(),
        ];
        for leak in leaks {
            let service = busy_day(dice, leak);
            let full = every(60.0, onset, DAY).find(|&at| service.sample(at).total() >= 200.0).unwrap_or(DAY);
            let first = service.first_leak(DAY).map(|(at, _)| at);
            alarms += u32::from(first.is_some_and(|at| at < onset));
            found += u32::from(first.is_some_and(|at| at < full));
            early += u32::from(first.is_some_and(|at| at < full - 1200.0));
            leads.push(first.map_or(0.0, |at| ((full - at) / (full - onset)).max(0.0)));
        }
    }
    leads.sort_by(f64::total_cmp);
    let lead = leads[leads.len() / 2];
    assert!(
        alarms <= 1 && found >= 9 && early >= 8 && lead >= 0.7,
        "false {alarms}, found {found} of 10, early {early}, median lead {lead:.2}"
    );
}

/// Whether each look from 12,000 s on finds the leak, where `told` changes what the detector is told.
fn leaks_as(told: impl Fn(usize, Sample) -> Sample) -> Vec<bool> {
    let service = Service { limit: 400, ..Service::new(every(120.0, 10_000.0, 30_000.0).map(|born| lost(1, born))) };
    let mut detector = Detector::new(60.0, 400);
    let looks = every(60.0, 0.0, 24_000.0).enumerate();
    let verdicts = looks.map(|(look, now)| (now, detector.step(&told(look, service.sample(now)))));
    verdicts.filter(|(now, _)| *now > 12_000.0).map(|(_, verdict)| matches!(verdict, Verdict::Leak(_))).collect()
}

#[test]
fn a_look_that_stalled_ends_no_silence() {
    let late = |sample: Sample| Sample { uptime: sample.uptime + 5.0, ..sample };
    let leaks = leaks_as(|look, sample| if look % 20 == 5 { late(sample) } else { sample });
    assert!(leaks.iter().all(|leaks| *leaks), "{leaks:?}");
}

#[test]
fn clocks_on_both_sides_of_a_look_tell_how_late_it_is() {
    // Of a loaded host each look takes a while, of a rehearsal many seconds: more than the silences of a short past.
    let late = |sample: Sample, took: f64| Sample { uptime: sample.uptime + took, took, ..sample };
    let leaks = leaks_as(|look, sample| late(sample, (look % 3) as f64 * 20.0));
    assert!(leaks.iter().all(|leaks| *leaks), "{leaks:?}");
}

#[test]
fn a_host_that_slept_wakes_up_with_its_leak() {
    let slept = |look: usize| if look >= 300 { 7200.0 } else { 0.0 };
    for told in [1.0, 0.0] {
        let leaks = leaks_as(|look, sample| Sample {
            uptime: sample.uptime + slept(look),
            suspended: told * slept(look),
            ..sample
        });
        assert!(leaks.iter().all(|leaks| *leaks), "told {told}: {leaks:?}");
    }
}

#[test]
fn an_outage_of_the_checks_is_no_suspend() {
    // Each is used once while nobody looks, and is by chance a little more idle afterwards than it was before.
    let service = Service::new(every(120.0, 10_000.0, 15_000.0).map(|born| lost(1, born)));
    let mut detector = Detector::new(60.0, 400);
    every(60.0, 0.0, 15_001.0).for_each(|now| {
        detector.step(&service.sample(now));
    });
    let mut sample = service.sample(22_200.0);
    sample.sockets.iter_mut().for_each(|socket| socket.idle += (socket.cookie * 37 % 100) as f64 - 7200.0);
    detector.step(&sample);
    assert_eq!(detector.watched(), 22_200.0);
}
