/* What keeps a function that has a way out away from what is private. See guard.c. */
#ifndef GUARD_H
#define GUARD_H

#include <sys/types.h>

/* Put the guard in place in our network namespace; `allowed` is what may be reached although
 * it is private, NULL-terminated: "10.0.0.0/8:5432", by TCP and UDP, or with port 0 all of the
 * network there. 0, or an errno. */
int guard(char *const *allowed);

/* Become somebody without a capability. 0, or an errno. */
int become(uid_t user, gid_t group);

#endif
