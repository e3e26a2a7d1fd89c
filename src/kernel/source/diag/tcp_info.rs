//! `struct tcp_info`: what the kernel tells of a socket's traffic. It grows at its end with the kernel's
//! version: the front is read, more is ignored.

use super::{u32_at, u64_at};
use crate::kernel::socket::{State, Times};

pub(super) const TIMER_RETRANSMIT: u8 = 1;
pub(super) const TIMER_PROBE: u8 = 4;

/// TCP_RTO_MAX, milliseconds: no pause between two tries is longer.
const LONGEST_PAUSE: u64 = 120_000;

/// `struct tcp_info` grows at its end with the kernel's version: the front is read, more is ignored.
pub(super) fn times(info: &[u8], timer: u8, timer_rest: u32) -> Option<Times> {
    Some(Times {
        data_sent: u32_at(info, 44)?,
        data_recv: u32_at(info, 52)?,
        ack_recv: u32_at(info, 56)?,
        stalled: stalled(info, timer, timer_rest)?,
        carried: carried(info),
        ack_delay: ack_delay(u64_at(info, 120), u32_at(info, 228), timer),
    })
}

/// A peer tells that its window has opened only where that has at least doubled (`tcp_cleanup_rbuf` in net/ipv4/tcp.c,
/// 6.18), so where half a window of what it was ever sent was unread. How long it leaves that unread nobody can
/// tell: where it is longer than assumed here, a connection is too young once, until its peer has read all.
/// By `tcpi_bytes_acked` (4.1) and `tcpi_snd_wnd` (5.4).
pub(super) fn ack_delay(acked: Option<u64>, window: Option<u32>, timer: u8) -> u32 {
    const LONG_ROUND_TRIP: u32 = 1000;
    const LATE_READER: u32 = 600_000;
    const SMALL_WINDOW: u32 = 64 * 1024;
    let fills_half = |acked: u64| acked.saturating_mul(2) >= u64::from(window.unwrap_or(SMALL_WINDOW));
    match timer {
        TIMER_PROBE => u32::MAX,
        _ if acked.is_none_or(fills_half) => LATE_READER,
        _ => LONG_ROUND_TRIP,
    }
}

/// The pauses so far, each twice the one before (net/ipv4/tcp_timer.c): `tcpi_rto` is the present
/// one between retransmissions, the first one between probes of a closed window.
pub(super) fn stalled(info: &[u8], timer: u8, timer_rest: u32) -> Option<u32> {
    let (backoff, rto) = (u32::from(*info.get(4)?).min(16), u64::from(u32_at(info, 8)? / 1000));
    let pause = match timer {
        _ if backoff == 0 => return Some(0),
        TIMER_RETRANSMIT => |rto: u64, tries: u32, backoff: u32| rto >> (backoff - tries),
        TIMER_PROBE => |rto: u64, tries: u32, _: u32| (rto << tries).min(LONGEST_PAUSE),
        _ => return Some(0),
    };
    let begun = pause(rto, backoff, backoff).saturating_sub(u64::from(timer_rest));
    let past: u64 = (0..backoff).map(|tries| pause(rto, tries, backoff)).sum();
    Some(u32::try_from(past + begun).unwrap_or(u32::MAX))
}

/// By `tcpi_bytes_received`, and since 4.6 `tcpi_notsent_bytes`, `tcpi_data_segs_in` and `_out`:
/// `tcpi_bytes_acked` counts the SYN of the connecting end too.
pub(super) fn carried(info: &[u8]) -> Option<bool> {
    let segments = [u32_at(info, 144)?, u32_at(info, 152)?, u32_at(info, 156)?];
    Some(u64_at(info, 128)? > 0 || segments.iter().any(|count| *count > 0))
}

/// Whether it connected: `tcpi_bytes_acked` counts the SYN of that end alone. Told where nothing is in
/// flight (`tcpi_unacked`) and no FIN was sent, since `tcpi_bytes_sent` and `tcpi_bytes_retrans` (4.19).
pub(super) fn connected(state: State, info: &[u8]) -> Option<bool> {
    if !matches!(state, State::Established | State::CloseWait) || u32_at(info, 24)? != 0 {
        return None;
    }
    let (acked, sent, again) = (u64_at(info, 120)?, u64_at(info, 200)?, u64_at(info, 208)?);
    match acked.checked_sub(sent.checked_sub(again)?)? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}
