/* A packet filter, order by order, put into our network namespace in one transaction: a small
 * part of nftables. See filter.c.
 */
#ifndef FILTER_H
#define FILTER_H

/* Before the kernel's headers, which then leave out what both of them declare. */
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stddef.h>
#include <stdint.h>

/* An exit code, plus an errno: there is no guard. */
enum { NO_GUARD = 60 };

struct rule { struct nlmsghdr *head; struct nlattr *list; };

void begin_filter(void);
void add_chain(const char *name, int hook, int policy);

/* A rule is a list of expressions; the first that does not hold ends it. */
struct rule rule(const char *chain);
void load_meta(int key);
void load_bytes(int base, int offset, int size);
void load_state(void);
void mask(uint32_t bits);
void compare(int how, const void *data, size_t size);
void verdict(int code);
void reject(void);
void end_rule(struct rule made);

/* All that was ordered since begin_filter, or nothing of it. 0, or an errno. */
int commit_filter(void);

#endif
