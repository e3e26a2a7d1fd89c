//! Histories of all users, for root: each read as its user, so that nothing it holds leads anywhere he can't go.

use connleak::base::error::plain;
use connleak::history::state_dir;
use connleak::kernel::user::Users;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use std::path::{Path, PathBuf};
use std::thread;

/// Where histories may be, with the user to become for it; `None`: the one we are.
pub fn places(chosen: Option<&Path>) -> Result<Vec<(Option<u32>, PathBuf)>, String> {
    let own = state_dir::existing(chosen).map_err(|why| why.to_string())?;
    let mut places: Vec<_> = own.into_iter().map(|dir| (None, dir)).collect();
    if geteuid().is_root() {
        let everyone = state_dir::of_everyone(chosen).map_err(|why| why.to_string())?;
        let others = everyone.into_iter().filter(|(uid, _)| *uid != 0);
        places.extend(others.map(|(uid, dir)| (Some(uid), dir)));
    }
    Ok(places)
}

/// Does it with the rights of that user: the kernel keeps them by thread.
pub fn as_user<T: Send>(uid: Option<u32>, act: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
    let Some(uid) = uid else { return act() };
    let there = move || {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(NOBODYS));
        set_thread_res_gid(group, group, group)
            .and_then(|()| set_thread_res_uid(user, user, user))
            .map_err(|why| format!("can't become user {uid}: {}", plain(&why.into())))?;
        act()
    };
    thread::scope(|scope| scope.spawn(there).join())
        .unwrap_or_else(|_| Err("internal error; please report it".to_owned()))
}

/// `nogroup`: a history is read as its owner, not by a group.
const NOBODYS: u32 = 65534;

pub fn name(uid: u32) -> Option<String> {
    let users = Users::read();
    Some(users.name(uid).map_or_else(|| uid.to_string(), str::to_owned))
}
