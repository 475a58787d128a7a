/* Work that gives way to inference: loading, verifying, warming up. */
#ifndef LEGO_SERVICE_BACKGROUND_H
#define LEGO_SERVICE_BACKGROUND_H

/* How far it gives way. */
enum background_priority {
    BACKGROUND_IDLE,   /* only what nobody else wants of the cores and the disk */
    BACKGROUND_LOW,    /* nice 19, the last in line for the disk */
    BACKGROUND_NORMAL, /* not at all */
};

/*
 * Calls work(context) on a thread of that priority and waits for its end. A thread of its own, for
 * a thread cannot go back without privileges, and those that it starts are like it: threads that
 * are to compute are not made in there. Where no thread can be had it is called here.
 */
void background_run(enum background_priority priority, void (*work)(void *context), void *context);

#endif
