//! The wall clock, and its local time, which only the C library knows.

/// Returns year, month, day, hour, minute and second of a time in seconds since the epoch, in the machine's time zone
/// (`localtime_r(3)`).
pub fn local(seconds: i64) -> [i32; 6] {
    // SAFETY: zero is a valid value of this plain structure, and both pointers are valid for the call.
    let parts = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut parts);
        parts
    };
    [
        parts.tm_year + 1900,
        parts.tm_mon + 1,
        parts.tm_mday,
        parts.tm_hour,
        parts.tm_min,
        parts.tm_sec,
    ]
}

/// Returns the present as seconds since the epoch.
pub fn wall_time() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
