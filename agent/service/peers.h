/*
 * Who the clients are and what they may: the policy (`access`), by the user and the groups that the
 * kernel says of a connected process, and what each user has under way (`quotas`). The loop thread
 * only.
 */
#ifndef LEGO_SERVICE_PEERS_H
#define LEGO_SERVICE_PEERS_H

#include "agent/service/config.h"

#include <sys/types.h>

enum peer_role {
    PEER_NONE,  /* may not connect */
    PEER_INFER, /* may ask all but what changes what is served */
    PEER_ADMIN, /* may load, unload and roll back, too */
};

/* All that one user has under way. */
struct peer_account {
    struct peer_account *next;
    uid_t uid;
    uint32_t connections, requests, descriptors;
    size_t bytes; /* of the requests */
};

struct id_list {
    uint32_t *ids;
    size_t count;
};

/* Who may what by one socket. */
struct peer_policy {
    struct id_list users, groups, admin_users, admin_groups;
    enum peer_role most; /* that anybody gets here */
    const char *keys;    /* those that say so, for messages */
};

struct peers {
    uint64_t max_connections, max_requests, max_bytes, max_descriptors; /* 0: no quota */
    struct peer_account *accounts;
};

/*
 * The rules of `socket` and `access`, and those of an entry of `sockets`. Resolve names. E_CONFIG
 * where one is unknown, E_NOMEM; to be cleared even then.
 */
int peer_policy_init(struct peer_policy *policy, const struct config *config,
                     struct lego_diag *diag);
int peer_policy_init_socket(struct peer_policy *policy, const struct config_socket *socket,
                            struct lego_diag *diag);
void peer_policy_clear(struct peer_policy *policy);

/* What the process behind a connected socket may. */
enum peer_role peers_role(const struct peer_policy *policy, int fd, uid_t uid, gid_t gid);

void peers_init(struct peers *peers, const struct config *config);
void peers_clear(struct peers *peers);

/*
 * Adds a connection of that user; *ret_account stays valid until peers_leave. E_EXHAUSTED
 * (quotas.connections), E_NOMEM.
 */
int peers_join(struct peers *peers, uid_t uid, struct peer_account **ret_account,
               struct lego_diag *diag);
void peers_leave(struct peers *peers, struct peer_account *account); /* NULL is ignored */

/* Counts a request of so many bytes. E_EXHAUSTED: over quotas.requests or quotas.memory. */
int peers_begin(const struct peers *peers, struct peer_account *account, size_t bytes,
                struct lego_diag *diag);
void peers_finish(struct peer_account *account, size_t bytes);

/* Counts `now` descriptors in place of *held, of one connection. E_EXHAUSTED: over
 * quotas.descriptors; they are counted all the same. */
int peers_hold(const struct peers *peers, struct peer_account *account, uint32_t *held,
               uint32_t now, struct lego_diag *diag);

#endif
