/*
 * Faults that the library faults.c, preloaded into an agent, brings about; the test and the agent
 * share them by a file that LEGO_FAULTS names.
 */
#ifndef LEGO_TESTS_AGENT_FAULTS_H
#define LEGO_TESTS_AGENT_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

#define FAULTS_ENV "LEGO_FAULTS"

struct faults {
    atomic_uint loaded; /* 1: the library is there */
    atomic_uint rate;   /* one of so many allocations fails; 0: none */
    atomic_uint count;  /* of allocations since the start */
    atomic_uint failed; /* of them */
    atomic_int jump_s;  /* added to the hour of the day */
};

#endif
