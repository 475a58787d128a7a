/*
 * What systemd is told, by the protocol of sd_notify(3). sd_notify itself would wait where nobody
 * reads the socket, and the loop with it: here what cannot be sent at once is kept and sent later.
 * Without systemd each is nothing. The loop thread only.
 */
#ifndef LEGO_SERVICE_NOTIFY_H
#define LEGO_SERVICE_NOTIFY_H

#include <stdint.h>

/* READY=1 with a status line; after a reload, too. */
void notify_ready(const char *status);
void notify_reloading(void); /* RELOADING=1 with MONOTONIC_USEC, which systemd 253 on wants */
void notify_stopping(void);
void notify_watchdog(void); /* not kept: the next one comes soon */

/* Sends what is kept, as far as it is taken; call every second or so. */
void notify_flush(void);

/* How often the watchdog wants to be fed, in milliseconds: half of its time; 0: there is none. */
uint64_t notify_watchdog_interval_ms(void);

#endif
