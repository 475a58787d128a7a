#include "agent/service/background.h"

#include "agent/service/log.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOWEST_NICE 19

/* linux/ioprio.h is not in every set of headers. */
#define IO_WHO_PROCESS       1
#define IO_CLASS_SHIFT       13
#define IO_CLASS_BEST_EFFORT 2
#define IO_CLASS_IDLE        3
#define IO_LOWEST_LEVEL      7

struct errand {
    enum background_priority priority;
    void (*work)(void *context);
    void *context;
};

/* Of this thread alone, as always on Linux. A filter of system calls may forbid it. */
static void step_back(enum background_priority priority)
{
    bool idle = priority == BACKGROUND_IDLE;
    const struct sched_param none = {0};
    int disk = idle ? IO_CLASS_IDLE << IO_CLASS_SHIFT
                    : IO_CLASS_BEST_EFFORT << IO_CLASS_SHIFT | IO_LOWEST_LEVEL;
    if (setpriority(PRIO_PROCESS, (id_t)gettid(), LOWEST_NICE) != 0 ||
        (idle && sched_setscheduler(0, SCHED_IDLE, &none) != 0) ||
        syscall(SYS_ioprio_set, IO_WHO_PROCESS, 0, disk) != 0)
        log_debug("loading keeps the priority of inference: %s", strerror(errno));
}

static void *errand_main(void *argument)
{
    struct errand *errand = argument;
    pthread_setname_np(pthread_self(), "lego-background");
    step_back(errand->priority);
    errand->work(errand->context);
    return NULL;
}

void background_run(enum background_priority priority, void (*work)(void *context), void *context)
{
    struct errand errand = {.priority = priority, .work = work, .context = context};
    pthread_t thread;
    if (priority == BACKGROUND_NORMAL || pthread_create(&thread, NULL, errand_main, &errand) != 0)
        work(context);
    else
        pthread_join(thread, NULL);
}
