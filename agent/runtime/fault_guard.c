#include "agent/runtime/fault_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Regions are in a list that only grows, so that the handler may walk it at any moment: a removed
 * region stays in it, empty, for the next one. `end` is written last and cleared first.
 */
struct fault_region {
    struct fault_region *next; /* constant once the region is in the list */
    atomic_uintptr_t start;
    atomic_uintptr_t end; /* 0: free */
    atomic_bool faulted;
};

static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(struct fault_region *) guard_regions;
static struct sigaction guard_previous;
static bool guard_installed;
static uintptr_t guard_page_bytes;

static struct fault_region *guard_find(uintptr_t address)
{
    struct fault_region *region = atomic_load(&guard_regions);

    for (; region; region = region->next) {
        uintptr_t end = atomic_load(&region->end);
        if (end && address >= atomic_load(&region->start) && address < end)
            return region;
    }
    return NULL;
}

static void guard_chain(int signal_number, siginfo_t *info, void *context)
{
    if (guard_previous.sa_flags & SA_SIGINFO) {
        guard_previous.sa_sigaction(signal_number, info, context);
    } else if (guard_previous.sa_handler != SIG_DFL && guard_previous.sa_handler != SIG_IGN) {
        guard_previous.sa_handler(signal_number);
    } else {
        /* Returning repeats the access, and with it the fault, this time fatally. */
        struct sigaction fatal = {.sa_handler = SIG_DFL};
        sigaction(signal_number, &fatal, NULL);
        if (info->si_code <= 0) /* sent by somebody: it will not repeat by itself */
            raise(signal_number);
    }
}

/* Only async-signal-safe calls: atomics and the bare system calls mmap and sigaction. */
static void guard_handler(int signal_number, siginfo_t *info, void *context)
{
    int error = errno;
    uintptr_t address = (uintptr_t)info->si_addr;
    uintptr_t page = address & ~(guard_page_bytes - 1);
    struct fault_region *region = info->si_code > 0 ? guard_find(address) : NULL;

    if (!region || mmap((void *)page, guard_page_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
        guard_chain(signal_number, info, context);
    else
        atomic_store(&region->faulted, true);
    errno = error;
}

static int guard_install(struct lego_diag *diag)
{
    struct sigaction action = {.sa_sigaction = guard_handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    if (guard_installed)
        return LEGO_OK;
    guard_page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, &guard_previous))
        return lego_fail_errno(diag, errno, "installing the handler for truncated model files");
    guard_installed = true;
    return LEGO_OK;
}

/* A free region of the list, or a new one at its head. The lock is held. */
static struct fault_region *guard_take(void)
{
    struct fault_region *region = atomic_load(&guard_regions);

    while (region && atomic_load(&region->end))
        region = region->next;
    if (region)
        return region;
    region = calloc(1, sizeof(*region));
    if (region) {
        region->next = atomic_load(&guard_regions);
        atomic_store(&guard_regions, region);
    }
    return region;
}

int fault_guard_add(const void *start, size_t bytes, struct fault_region **ret_region,
                    struct lego_diag *diag)
{
    struct fault_region *region = NULL;
    int status;

    pthread_mutex_lock(&guard_lock);
    status = guard_install(diag);
    if (!status) {
        region = guard_take();
        if (!region)
            status = lego_fail(diag, LEGO_E_NOMEM, "guarding a mapped model");
    }
    if (!status) {
        atomic_store(&region->faulted, false);
        atomic_store(&region->start, (uintptr_t)start);
        atomic_store(&region->end, (uintptr_t)start + bytes);
        *ret_region = region;
    }
    pthread_mutex_unlock(&guard_lock);
    return status;
}

void fault_guard_remove(struct fault_region *region)
{
    if (!region)
        return;
    pthread_mutex_lock(&guard_lock);
    atomic_store(&region->end, 0);
    pthread_mutex_unlock(&guard_lock);
}

bool fault_guard_faulted(const struct fault_region *region)
{
    return region && atomic_load(&region->faulted);
}
