/* The guard of a sandbox whose network has a way out: the function that joins it reaches the
 * internet, but neither the machine's private neighbours, nor other containers, nor the address
 * where clouds hand out credentials; and nobody reaches it but through the door.
 *
 * A packet filter (nftables, by netlink) and not routes: who binds a socket to a device
 * (SO_BINDTODEVICE, IP_UNICAST_IF; no privilege needed) is not stopped by a route that forbids,
 * the kernel then takes the destination for a neighbour on the link. The filter holds for every
 * packet that leaves by a device other than `lo`. Only who has CAP_NET_ADMIN in here can change
 * it: we do, until `become`; a function never does.
 *
 * All of it is one transaction: it is there as a whole, or not at all.
 */
#define _GNU_SOURCE
#include "guard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filter.h"

struct range { const char *address; int bits; };

static const struct range FORBIDDEN[] = {
    {"0.0.0.0", 8},      /* this network */
    {"10.0.0.0", 8},     /* private */
    {"100.64.0.0", 10},  /* carriers' and clouds' own */
    {"127.0.0.0", 8},    /* the machine's own, where its bridges route them */
    {"168.63.129.16", 32}, /* Azure's host */
    {"169.254.0.0", 16}, /* link-local: clouds' metadata */
    {"172.16.0.0", 12},  /* private */
    {"192.0.0.0", 24},   /* protocols */
    {"192.168.0.0", 16}, /* private */
    {"198.18.0.0", 15},  /* benchmarks */
    {"224.0.0.0", 4},    /* multicast */
    {"240.0.0.0", 4},    /* reserved, and broadcast */
};

enum { LOOPBACK = 1, ESTABLISHED_OR_RELATED = 6 };

/* What stays in here is the function's own affair; Docker's resolver is in here too. */
static void accept_loopback(const char *chain, int device)
{
    uint32_t loopback = LOOPBACK;
    struct rule made = rule(chain);
    load_meta(device);
    compare(NFT_CMP_EQ, &loopback, sizeof loopback);
    verdict(NF_ACCEPT);
    end_rule(made);
}

static void reject_all_but_ipv4(void)
{
    uint8_t four = NFPROTO_IPV4;
    struct rule made = rule("output");
    load_meta(NFT_META_NFPROTO);
    compare(NFT_CMP_NEQ, &four, sizeof four);
    reject();
    end_rule(made);
}

/* An address in an option (source routing) would be where the packet really goes: a header
 * is of the 20 bytes that every rule below looks at, or it does not leave. */
static void reject_options(void)
{
    uint8_t plain = 4 << 4 | 20 / 4;
    struct rule made = rule("output");
    load_bytes(NFT_PAYLOAD_NETWORK_HEADER, 0, sizeof plain);
    compare(NFT_CMP_NEQ, &plain, sizeof plain);
    reject();
    end_rule(made);
}

static struct rule rule_for(uint32_t address, uint32_t bits)
{
    uint32_t network = address & bits;
    struct rule made = rule("output");
    load_bytes(NFT_PAYLOAD_NETWORK_HEADER, 16, sizeof network);
    mask(bits);
    compare(NFT_CMP_EQ, &network, sizeof network);
    return made;
}

static void reject_range(uint32_t address, uint32_t bits)
{
    struct rule made = rule_for(address, bits);
    reject();
    end_rule(made);
}

static void accept_range(uint32_t address, uint32_t bits)
{
    struct rule made = rule_for(address, bits);
    verdict(NF_ACCEPT);
    end_rule(made);
}

static void accept_port(uint32_t address, uint32_t bits, uint16_t port, uint8_t protocol)
{
    struct rule made = rule_for(address, bits);
    load_meta(NFT_META_L4PROTO);
    compare(NFT_CMP_EQ, &protocol, sizeof protocol);
    load_bytes(NFT_PAYLOAD_TRANSPORT_HEADER, 2, sizeof port);
    compare(NFT_CMP_EQ, &port, sizeof port);
    verdict(NF_ACCEPT);
    end_rule(made);
}

static uint32_t prefix(int bits) { return bits ? htonl(~0u << (32 - bits)) : 0; }

/* The engine's name servers among it: most have a private address. */
static int accept_allowed(const char *allowed)
{
    char text[INET_ADDRSTRLEN];
    struct in_addr address;
    unsigned bits, port;
    if (sscanf(allowed, "%15[0-9.]/%u:%u", text, &bits, &port) != 3 || bits > 32
        || port > UINT16_MAX || inet_pton(AF_INET, text, &address) != 1)
        return EINVAL;
    if (port == 0) {
        accept_range(address.s_addr, prefix(bits));
        return 0;
    }
    accept_port(address.s_addr, prefix(bits), htons(port), IPPROTO_TCP);
    accept_port(address.s_addr, prefix(bits), htons(port), IPPROTO_UDP);
    return 0;
}

/* The subnets we are in: the bridge's own address and the containers beside us. Before what is
 * allowed: a wide network that an operator allows may hold them, or their addresses may be
 * public ones where Docker was told so. */
static int reject_neighbours(void)
{
    struct ifaddrs *all, *one;
    int count = 0;
    if (getifaddrs(&all) != 0)
        return 0;
    for (one = all; one; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_netmask && one->ifa_addr->sa_family == AF_INET
            && !(one->ifa_flags & IFF_LOOPBACK)) {
            reject_range(((struct sockaddr_in *)one->ifa_addr)->sin_addr.s_addr,
                ((struct sockaddr_in *)one->ifa_netmask)->sin_addr.s_addr);
            count++;
        }
    freeifaddrs(all);
    return count;
}

/* The machine could connect to us over the bridge: nobody does but through the door. */
static void drop_what_was_not_asked_for(void)
{
    uint32_t none = 0;
    struct rule made = rule("input");
    load_state();
    mask(ESTABLISHED_OR_RELATED);
    compare(NFT_CMP_EQ, &none, sizeof none);
    verdict(NF_DROP);
    end_rule(made);
}

int guard(char *const *allowed)
{
    begin_filter();
    add_chain("output", NF_INET_LOCAL_OUT, NF_ACCEPT);
    add_chain("input", NF_INET_LOCAL_IN, NF_ACCEPT);
    add_chain("forward", NF_INET_FORWARD, NF_DROP); /* the machine's setting is inherited */
    accept_loopback("input", NFT_META_IIF);
    drop_what_was_not_asked_for();
    accept_loopback("output", NFT_META_OIF);
    reject_all_but_ipv4();
    reject_options();
    if (reject_neighbours() == 0)
        return ENETDOWN; /* in no network at all: that is not what we were started for */
    for (; *allowed; allowed++)
        if (accept_allowed(*allowed) != 0)
            return EINVAL;
    for (size_t i = 0; i < sizeof FORBIDDEN / sizeof *FORBIDDEN; i++)
        reject_range(inet_addr(FORBIDDEN[i].address), prefix(FORBIDDEN[i].bits));
    return commit_filter();
}

int become(uid_t user, gid_t group)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (setgroups(0, NULL) != 0 || setresgid(group, group, group) != 0
        || setresuid(user, user, user) != 0)
        return errno;
    /* The gateway may be root: then its number alone takes nothing away. */
    return syscall(SYS_capset, &head, none) == 0 ? 0 : errno;
}
