/* nftables by netlink, as little of it as the guard needs: one table of our own for IPv4 and
 * IPv6 together, chains in it that are asked about packets, and rules. What is ordered is
 * gathered in one batch, which the kernel takes as a whole or not at all.
 */
#define _GNU_SOURCE
#include "filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { ANSWER_SECONDS = 5 };
static const char TABLE[] = "zerverless";

static char batch[1 << 16]; /* all zero: the padding too */
static size_t end;
static uint32_t sequence;

/* -- Netlink: messages of attributes, which may hold attributes ------------------------ */

static void *append(const void *data, size_t size)
{
    void *at = batch + end;
    if (end + NLMSG_ALIGN(size) > sizeof batch)
        _exit(NO_GUARD + E2BIG);
    if (data)
        memcpy(at, data, size);
    end += NLMSG_ALIGN(size);
    return at;
}

static void attribute(int type, const void *data, size_t size)
{
    struct nlattr head = {.nla_len = NLA_HDRLEN + size, .nla_type = type};
    append(&head, sizeof head);
    append(data, size);
}

static void text(int type, const char *value) { attribute(type, value, strlen(value) + 1); }

static void number(int type, uint32_t value)
{
    uint32_t ordered = htonl(value);
    attribute(type, &ordered, sizeof ordered);
}

static struct nlattr *begin(int type)
{
    struct nlattr head = {.nla_type = type | NLA_F_NESTED};
    return append(&head, sizeof head);
}

static void finish(struct nlattr *nest) { nest->nla_len = batch + end - (char *)nest; }

static struct nlmsghdr *message(int type, int flags, int family, int resource)
{
    struct nfgenmsg kind = {.nfgen_family = family, .version = NFNETLINK_V0,
        .res_id = htons(resource)};
    struct nlmsghdr head = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags,
        .nlmsg_seq = sequence++};
    struct nlmsghdr *made = append(&head, sizeof head);
    append(&kind, sizeof kind);
    return made;
}

static struct nlmsghdr *order(int type, int flags)
{
    return message(NFNL_SUBSYS_NFTABLES << 8 | type, flags | NLM_F_ACK, NFPROTO_INET, 0);
}

static void sent(struct nlmsghdr *head) { head->nlmsg_len = batch + end - (char *)head; }

static void boundary(int type) { sent(message(type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES)); }

/* -- Expressions and rules ------------------------------------------------------------- */

struct expression { struct nlattr *element, *data; };

static struct expression expression(const char *name)
{
    struct expression made = {.element = begin(NFTA_LIST_ELEM)};
    text(NFTA_EXPR_NAME, name);
    made.data = begin(NFTA_EXPR_DATA);
    return made;
}

static void done(struct expression made)
{
    finish(made.data);
    finish(made.element);
}

static void value(int type, const void *data, size_t size)
{
    struct nlattr *nest = begin(type);
    attribute(NFTA_DATA_VALUE, data, size);
    finish(nest);
}

void load_meta(int key)
{
    struct expression meta = expression("meta");
    number(NFTA_META_DREG, NFT_REG_1);
    number(NFTA_META_KEY, key);
    done(meta);
}

void load_bytes(int base, int offset, int size)
{
    struct expression payload = expression("payload");
    number(NFTA_PAYLOAD_DREG, NFT_REG_1);
    number(NFTA_PAYLOAD_BASE, base);
    number(NFTA_PAYLOAD_OFFSET, offset);
    number(NFTA_PAYLOAD_LEN, size);
    done(payload);
}

void load_state(void)
{
    struct expression ct = expression("ct");
    number(NFTA_CT_DREG, NFT_REG_1);
    number(NFTA_CT_KEY, NFT_CT_STATE);
    done(ct);
}

void mask(uint32_t bits)
{
    uint32_t none = 0;
    struct expression bitwise = expression("bitwise");
    number(NFTA_BITWISE_SREG, NFT_REG_1);
    number(NFTA_BITWISE_DREG, NFT_REG_1);
    number(NFTA_BITWISE_LEN, sizeof bits);
    value(NFTA_BITWISE_MASK, &bits, sizeof bits);
    value(NFTA_BITWISE_XOR, &none, sizeof none);
    done(bitwise);
}

void compare(int how, const void *data, size_t size)
{
    struct expression cmp = expression("cmp");
    number(NFTA_CMP_SREG, NFT_REG_1);
    number(NFTA_CMP_OP, how);
    value(NFTA_CMP_DATA, data, size);
    done(cmp);
}

void verdict(int code)
{
    struct expression immediate = expression("immediate");
    number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *data = begin(NFTA_IMMEDIATE_DATA), *nest = begin(NFTA_DATA_VERDICT);
    number(NFTA_VERDICT_CODE, code);
    finish(nest);
    finish(data);
    done(immediate);
}

/* The program learns it at once ("No route to host") instead of waiting. */
void reject(void)
{
    uint8_t code = NFT_REJECT_ICMPX_ADMIN_PROHIBITED;
    struct expression made = expression("reject");
    number(NFTA_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    attribute(NFTA_REJECT_ICMP_CODE, &code, sizeof code);
    done(made);
}

struct rule rule(const char *chain)
{
    struct rule made = {.head = order(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND)};
    text(NFTA_RULE_TABLE, TABLE);
    text(NFTA_RULE_CHAIN, chain);
    made.list = begin(NFTA_RULE_EXPRESSIONS);
    return made;
}

void end_rule(struct rule made)
{
    finish(made.list);
    sent(made.head);
}

/* -- The filter itself ----------------------------------------------------------------- */

static void add_table(void)
{
    struct nlmsghdr *head = order(NFT_MSG_NEWTABLE, NLM_F_CREATE);
    text(NFTA_TABLE_NAME, TABLE);
    sent(head);
}

void add_chain(const char *name, int hook, int policy)
{
    struct nlmsghdr *head = order(NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    text(NFTA_CHAIN_TABLE, TABLE);
    text(NFTA_CHAIN_NAME, name);
    struct nlattr *nest = begin(NFTA_CHAIN_HOOK);
    number(NFTA_HOOK_HOOKNUM, hook);
    number(NFTA_HOOK_PRIORITY, 0);
    finish(nest);
    number(NFTA_CHAIN_POLICY, policy);
    text(NFTA_CHAIN_TYPE, "filter");
    sent(head);
}

void begin_filter(void)
{
    boundary(NFNL_MSG_BATCH_BEGIN);
    add_table();
}

/* Every order is acknowledged; the first that is refused says why. */
static int answers(int netlink, int count)
{
    char buffer[1 << 13];
    while (count > 0) {
        ssize_t size = recv(netlink, buffer, sizeof buffer, 0);
        if (size < 0)
            return errno;
        struct nlmsghdr *head = (struct nlmsghdr *)buffer;
        for (; NLMSG_OK(head, size); head = NLMSG_NEXT(head, size)) {
            struct nlmsgerr *error = NLMSG_DATA(head);
            if (head->nlmsg_type == NLMSG_ERROR && error->error)
                return -error->error;
            if (head->nlmsg_type == NLMSG_ERROR)
                count--;
        }
    }
    return 0;
}

int commit_filter(void)
{
    boundary(NFNL_MSG_BATCH_END);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct timeval patience = {.tv_sec = ANSWER_SECONDS};
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (netlink < 0)
        return errno;
    setsockopt(netlink, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    int error = 0;
    if (sendto(netlink, batch, end, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0)
        error = errno;
    else
        error = answers(netlink, sequence - 2); /* begin and end are not acknowledged */
    close(netlink);
    return error;
}
