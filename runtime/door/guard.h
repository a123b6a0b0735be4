/* What keeps a function that has a way out away from what is private. See guard.c. */
#ifndef GUARD_H
#define GUARD_H

#include <sys/types.h>

/* Put the guard in place in our network namespace; `resolvers` are addresses to which name
 * lookups may go although they are private, NULL-terminated. 0, or an errno. */
int guard(char *const *resolvers);

/* Become somebody without a capability. 0, or an errno. */
int become(uid_t user, gid_t group);

#endif
