#include "agent/service/notify.h"

#include "agent/service/clock.h"

#include <inttypes.h>
#include <systemd/sd-daemon.h>

void notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_reloading(void)
{
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_ns() / 1000);
}

void notify_stopping(void)
{
    sd_notify(0, "STOPPING=1");
}

void notify_watchdog(void)
{
    sd_notify(0, "WATCHDOG=1");
}

uint64_t notify_watchdog_interval_ms(void)
{
    uint64_t microseconds;
    if (sd_watchdog_enabled(0, &microseconds) <= 0)
        return 0;
    uint64_t interval = microseconds / 2000;
    return interval > 0 ? interval : 1;
}
