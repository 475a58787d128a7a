/* Start, stop, signals and time. */
#include "agent/service/service.h"

#include "agent/service/capture.h"
#include "agent/service/clock.h"
#include "agent/service/cpus.h"
#include "agent/service/log.h"
#include "agent/service/metrics.h"
#include "agent/service/notify.h"
#include "agent/service/sleep.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS       1000
#define DRAIN_TICK_MS 20

#define SPARE_DESCRIPTORS 256 /* for models, watches and the rest */

/* Both are called on other threads: they only wake the loop. */
static void wake_jobs(void *context)
{
    const uint64_t one = 1;
    while (write(((struct service *)context)->jobs_fd, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

static void wake_loads(void *context)
{
    uv_async_send(&((struct service *)context)->load_done);
}

static void on_awake(void *context)
{
    jobs_done(context);
}

/* An engine that has not seen this yet may have finished without a word. */
static void on_awaits(struct connection *connection)
{
    wake_jobs(connection->host->context);
}

static void on_jobs_done(uv_poll_t *poll, int error, int events)
{
    struct service *service = poll->data;
    uint64_t count;
    (void)error;
    (void)events;
    if (read(service->jobs_fd, &count, sizeof(count)) > 0)
        jobs_done(service);
}

static void on_load_done(uv_async_t *async)
{
    reload_done(async->data);
}

static void on_pressure(void *context)
{
    struct service *service = context;
    if (!service->draining)
        sleep_relieve(service);
}

static void on_watch(void *context, bool configuration)
{
    struct service *service = context;
    log_info("%s changed: reloading", configuration ? "the configuration" : "a model folder");
    reload_all(service, !configuration);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct service *service = handle->data;
    if (number == SIGHUP) {
        log_info("SIGHUP: reloading");
        reload_all(service, false);
        return;
    }
    if (service->draining) {
        log_warning("told to stop twice: stopping without finishing");
        _exit(EXIT_FAILURE);
    }
    log_info("%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
    service_drain(service);
}

static void on_tick(uv_timer_t *timer)
{
    struct service *service = timer->data;
    struct connection *next;
    notify_flush();
    jobs_done(service);
    for (struct connection *connection = service->connections; connection; connection = next) {
        next = connection->next;
        connection_check_stall(connection);
    }
    pressure_tick(service->pressure);
    if (!service->draining)
        sleep_tick(service);
    if (service->first_load_done && !service->draining)
        accept_start(service); /* where it was stopped for want of descriptors */
}

/* systemd hears from the agent only while engines get on: a stuck one gets the agent restarted. */
static void on_watchdog(uv_timer_t *timer)
{
    struct service *service = timer->data;
    if (engines_longest_ns(service->engines) / 1000000 < service->start->engine_stall_ms)
        notify_watchdog();
    else
        log_error("an engine has been at one request for longer than engines.stall: the watchdog "
                  "is not fed");
}

static void on_drain_tick(uv_timer_t *timer)
{
    struct service *service = timer->data;
    bool late = clock_ns() >= service->drain_deadline_ns, waiting = false;
    struct connection *next;
    notify_flush();
    jobs_done(service);
    for (struct connection *connection = service->connections; connection; connection = next) {
        next = connection->next;
        if (late || connection_is_idle(connection))
            connection_close(connection);
        else
            waiting = true;
    }
    if (!waiting)
        uv_stop(&service->loop);
}

void service_drain(struct service *service)
{
    service->draining = true;
    notify_stopping();
    accept_stop(service);
    accept_unlink(service);
    reload_clear(service);
    sleep_clear(service);
    service->drain_deadline_ns = clock_ns() + service->config->drain_timeout_ms * 1000000;
    uv_timer_start(&service->drain_tick, on_drain_tick, DRAIN_TICK_MS, DRAIN_TICK_MS);
}

static void on_released(struct connection *connection)
{
    struct service *service = connection->host->context;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        service->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    if (connection->account)
        service_holds(connection, NULL);
    peers_leave(&service->peers, connection->account);
    free(connection->queue_peer);
}

/* Descriptors for as many clients as are allowed, where the system grants them. */
static void raise_descriptors(const struct config *config)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)config->max_connections + SPARE_DESCRIPTORS;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    if (wanted > limit.rlim_max) {
        log_warning("limits.connections is %llu, but the system allows %llu descriptors",
                    (unsigned long long)config->max_connections,
                    (unsigned long long)limit.rlim_max);
        wanted = limit.rlim_max;
    }
    limit.rlim_cur = wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        log_warning("the limit on descriptors cannot be raised: %s", strerror(errno));
}

/* The machine's cores shared out among the engines, unless configured. */
static void size_engines(struct service *service)
{
    cpu_set_t set;
    uint32_t cores = sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    service->engine_count = (uint32_t)service->start->engine_count;
    service->engine_threads = (uint32_t)service->start->engine_threads;
    if (service->engine_threads == 0)
        service->engine_threads = cores > service->engine_count ? cores / service->engine_count : 1;
}

static void set_up_host(struct service *service)
{
    const struct config *config = service->start;
    service->host = (struct connection_host){
        .loop = &service->loop,
        .max_frame_bytes = config->max_frame_bytes,
        .max_output_bytes = config->max_output_bytes,
        .max_in_flight = (uint32_t)config->max_in_flight,
        .max_regions = (uint32_t)config->max_regions,
        .max_region_bytes = config->max_region_bytes,
        .stall_ns = config->client_stall_ms * 1000000,
        .staging = service->staging,
        .staging_bytes = SERVICE_STAGING_BYTES,
        .context = service,
        .awake = on_awake,
        .holds = service_holds,
        .frame = dispatch_frame,
        .awaits = on_awaits,
        .closed = dispatch_closed,
        .released = on_released,
    };
}

static void start_timer(struct service *service, uv_timer_t *timer, uv_timer_cb callback,
                        uint64_t interval_ms)
{
    timer->data = service;
    uv_timer_init(&service->loop, timer);
    if (interval_ms > 0)
        uv_timer_start(timer, callback, interval_ms, interval_ms);
}

static void start_signal(struct service *service, uv_signal_t *handle, int number)
{
    handle->data = service;
    uv_signal_init(&service->loop, handle);
    uv_signal_start(handle, on_signal, number);
}

/* The loop's handles. Those that fail for want of descriptors make the start fail. */
static int set_up_loop(struct service *service, struct lego_diag *diag)
{
    int error = uv_async_init(&service->loop, &service->load_done, on_load_done);
    if (error == 0)
        error = uv_poll_init(&service->loop, &service->jobs_poll, service->jobs_fd);
    if (error == 0)
        error = uv_poll_start(&service->jobs_poll, UV_READABLE, on_jobs_done);
    if (error == 0)
        error = accept_init(service);
    if (error < 0)
        return lego_fail_errno(diag, -error, "cannot set up the event loop");
    service->jobs_poll.data = service;
    service->load_done.data = service;
    jobs_init(service);
    sleep_init(service);
    service->pressure = pressure_start(&service->loop, service->start, on_pressure, service);
    metrics_start(service);
    start_timer(service, &service->tick, on_tick, TICK_MS);
    start_timer(service, &service->watchdog, on_watchdog, notify_watchdog_interval_ms());
    start_timer(service, &service->drain_tick, on_drain_tick, 0);
    start_signal(service, &service->on_term, SIGTERM);
    start_signal(service, &service->on_int, SIGINT);
    start_signal(service, &service->on_hup, SIGHUP);
    service->watch = watch_create(&service->loop, on_watch, service);
    if (!service->watch)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the agent");
    /* From now on, so that no change during the first load is missed. */
    watch_set(service->watch, service->source->path, &service->start->model_directory,
              service->start->model_directory[0] != '\0', service->start->watch_delay_ms);
    return LEGO_OK;
}

static int set_up(struct service *service, struct lego_diag *diag)
{
    const struct config *config = service->start;
    size_engines(service);
    raise_descriptors(config);
    service->staging = malloc(SERVICE_STAGING_BYTES);
    if (!service->staging)
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the agent");
    set_up_host(service);
    int status = set_up_loop(service, diag);
    if (status != LEGO_OK)
        return status;
    const struct engines_options options = {.count = service->engine_count,
                                            .cpus = config->engine_cpus,
                                            .max_jobs = config->max_queue,
                                            .max_bytes = config->max_queue_bytes,
                                            .done = wake_jobs,
                                            .context = service};
    status = capture_start(config, &service->capture, diag);
    if (status == LEGO_OK)
        status = engines_start(&options, &service->engines, diag);
    if (status == LEGO_OK)
        status = loader_start(wake_loads, service, &service->loader, diag);
    service->registry.loader = service->loader;
    service->registry.loading = true;
    return status;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

/* Drops the jobs of an engine's list, with the requests that their connections count. */
static void drop_jobs(struct service *service, struct inference_job *jobs)
{
    while (jobs) {
        struct inference_job *job = jobs;
        jobs = job->next;
        loader_release_model(service->loader, job->model);
        connection_finish(job->owner);
        inference_job_free(job);
    }
}

/* An inference or a load cannot be interrupted: past the drain's time nobody waits for one. */
static void leave_if_busy(const struct service *service)
{
    if (!service->draining || clock_ns() < service->drain_deadline_ns)
        return;
    if (engines_longest_ns(service->engines) > 0 || service->load_running) {
        log_warning("stopping in the middle of what takes longer than drain_timeout");
        _exit(EXIT_SUCCESS);
    }
}

/* Takes down what set_up has made, in any state. */
static void tear_down(struct service *service)
{
    struct connection *next;
    for (struct connection *connection = service->connections; connection; connection = next) {
        next = connection->next;
        connection_close(connection);
    }
    if (service->engines) {
        leave_if_busy(service);
        drop_jobs(service, engines_stop(service->engines));
    }
    capture_stop(service->capture);
    reload_clear(service);
    sleep_clear(service);
    pressure_stop(service->pressure);
    if (service->watch)
        watch_destroy(service->watch);
    uv_walk(&service->loop, close_handle, NULL);
    uv_run(&service->loop, UV_RUN_DEFAULT); /* the close callbacks release the connections */
    if (service->loader) {
        registry_clear(&service->registry);
        loader_stop(service->loader);
    }
    accept_close(service);
    if (service->config != service->start)
        config_free(service->config);
    config_free(service->start);
    peers_clear(&service->peers);
    free(service->staging);
    if (service->jobs_fd >= 0)
        close(service->jobs_fd);
}

int service_run(const struct config_source *source, struct config *config, struct lego_diag *diag)
{
    struct service *service = calloc(1, sizeof(*service));
    if (!service || uv_loop_init(&service->loop) < 0) {
        free(service);
        config_free(config);
        return lego_fail(diag, LEGO_E_NOMEM, "no memory for the agent");
    }
    service->source = source;
    service->start = service->config = config;
    service->jobs_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write */
    int status = service->jobs_fd < 0 ? lego_fail_errno(diag, errno, "cannot set up the event loop")
                                      : LEGO_OK;
    if (status == LEGO_OK)
        status = cpus_check(config->engine_cpus, diag);
    peers_init(&service->peers, config);
    if (status == LEGO_OK)
        status = accept_open(service, diag);
    if (status == LEGO_OK)
        status = set_up(service, diag);
    if (status == LEGO_OK) {
        reload_all(service, false);
        uv_run(&service->loop, UV_RUN_DEFAULT);
        status = service->exit_status;
        log_info("stopped");
    }
    tear_down(service);
    uv_loop_close(&service->loop);
    free(service);
    return status;
}
