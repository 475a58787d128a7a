#include "agent/service/peers.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define MAX_GROUPS 1024 /* of a process; further ones are not looked at */

static int no_memory(struct lego_diag *diag)
{
    return lego_fail(diag, LEGO_E_NOMEM, "no memory for the clients' accounts");
}

/* A number, or a name that the system knows. */
static bool resolve(const char *word, bool group, uint32_t *ret_id)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(word, &end, 10);
    if (!errno && !*end && word[0] >= '0' && word[0] <= '9' && number < UINT32_MAX) {
        *ret_id = (uint32_t)number;
        return true;
    }
    const struct passwd *user = group ? NULL : getpwnam(word);
    const struct group *found = group ? getgrnam(word) : NULL;
    if (user)
        *ret_id = user->pw_uid;
    if (found)
        *ret_id = found->gr_gid;
    return user || found;
}

/* The words of `text`, with spaces between them, as numbers. */
static int parse_ids(struct id_list *list, const char *text, bool group, const char *key,
                     struct lego_diag *diag)
{
    char *copy = strdup(text), *rest = copy;
    int status = LEGO_OK;
    list->ids = calloc(strlen(text) / 2 + 1, sizeof(*list->ids));
    if (!copy || !list->ids)
        status = no_memory(diag);
    for (char *word; status == LEGO_OK && (word = strsep(&rest, " "));) {
        if (*word && !resolve(word, group, &list->ids[list->count]))
            status = lego_fail(diag, LEGO_E_CONFIG, "%s: there is no %s \"%.64s\"", key,
                               group ? "group" : "user", word);
        else if (*word)
            list->count++;
    }
    free(copy);
    return status;
}

int peer_policy_init(struct peer_policy *policy, const struct config *config,
                     struct lego_diag *diag)
{
    policy->most = (enum peer_role)config->socket_role;
    policy->keys = "access.users, access.groups";
    int status = parse_ids(&policy->users, config->access_users, false, "access.users", diag);
    if (status == LEGO_OK)
        status = parse_ids(&policy->groups, config->access_groups, true, "access.groups", diag);
    if (status == LEGO_OK)
        status = parse_ids(&policy->admin_users, config->access_admin_users, false,
                           "access.admin_users", diag);
    if (status == LEGO_OK)
        status = parse_ids(&policy->admin_groups, config->access_admin_groups, true,
                           "access.admin_groups", diag);
    return status;
}

int peer_policy_init_socket(struct peer_policy *policy, const struct config_socket *socket,
                            struct lego_diag *diag)
{
    policy->most = (enum peer_role)socket->role;
    policy->keys = "users and groups of the socket";
    int status = parse_ids(&policy->users, socket->users, false, "sockets: users", diag);
    if (status == LEGO_OK)
        status = parse_ids(&policy->groups, socket->groups, true, "sockets: groups", diag);
    return status;
}

void peer_policy_clear(struct peer_policy *policy)
{
    free(policy->users.ids);
    free(policy->groups.ids);
    free(policy->admin_users.ids);
    free(policy->admin_groups.ids);
    *policy = (struct peer_policy){0};
}

void peers_init(struct peers *peers, const struct config *config)
{
    peers->max_connections = config->quota_connections;
    peers->max_requests = config->quota_requests;
    peers->max_bytes = config->quota_bytes;
    peers->max_descriptors = config->quota_descriptors;
}

void peers_clear(struct peers *peers)
{
    while (peers->accounts) {
        struct peer_account *account = peers->accounts;
        peers->accounts = account->next;
        free(account);
    }
}

static bool holds(const struct id_list *list, uint32_t id)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->ids[i] == id)
            return true;
    return false;
}

/* A process and its groups. */
struct credentials {
    uid_t uid;
    gid_t groups[MAX_GROUPS + 1]; /* the primary one first */
    size_t group_count;
};

/* True where the credentials are named, or nobody is. */
static bool is_named(const struct id_list *users, const struct id_list *groups,
                     const struct credentials *who)
{
    bool named = (users->count == 0 && groups->count == 0) || holds(users, who->uid);
    for (size_t i = 0; !named && i < who->group_count; i++)
        named = holds(groups, who->groups[i]);
    return named;
}

enum peer_role peers_role(const struct peer_policy *policy, int fd, uid_t uid, gid_t gid)
{
    struct credentials who = {.uid = uid, .groups = {gid}, .group_count = 1};
    socklen_t bytes = MAX_GROUPS * sizeof(gid_t);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, who.groups + 1, &bytes) == 0)
        who.group_count += bytes / sizeof(gid_t);
    if (!is_named(&policy->users, &policy->groups, &who))
        return PEER_NONE;
    bool admin = is_named(&policy->admin_users, &policy->admin_groups, &who);
    return admin ? policy->most : PEER_INFER;
}

int peers_join(struct peers *peers, uid_t uid, struct peer_account **ret_account,
               struct lego_diag *diag)
{
    struct peer_account *account = peers->accounts;
    while (account && account->uid != uid)
        account = account->next;
    if (account && peers->max_connections > 0 && account->connections >= peers->max_connections)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "user %u has %u connections already (quotas.connections)", (unsigned)uid,
                         account->connections);
    if (!account) {
        account = calloc(1, sizeof(*account));
        if (!account)
            return no_memory(diag);
        account->uid = uid;
        account->next = peers->accounts;
        peers->accounts = account;
    }
    account->connections++;
    *ret_account = account;
    return LEGO_OK;
}

void peers_leave(struct peers *peers, struct peer_account *account)
{
    if (!account || --account->connections > 0)
        return;
    struct peer_account **place = &peers->accounts;
    while (*place != account)
        place = &(*place)->next;
    *place = account->next;
    free(account);
}

int peers_begin(const struct peers *peers, struct peer_account *account, size_t bytes,
                struct lego_diag *diag)
{
    if (peers->max_requests > 0 && account->requests >= peers->max_requests)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "user %u has %u requests without an answer already (quotas.requests)",
                         (unsigned)account->uid, account->requests);
    if (peers->max_bytes > 0 && bytes > peers->max_bytes - account->bytes)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "user %u has requests of %zu bytes without an answer already, %zu more "
                         "are over the quota of %" PRIu64 " (quotas.memory)",
                         (unsigned)account->uid, account->bytes, bytes, peers->max_bytes);
    account->requests++;
    account->bytes += bytes;
    return LEGO_OK;
}

void peers_finish(struct peer_account *account, size_t bytes)
{
    account->requests--;
    account->bytes -= bytes;
}

int peers_hold(const struct peers *peers, struct peer_account *account, uint32_t *held,
               uint32_t now, struct lego_diag *diag)
{
    bool more = now > *held;
    account->descriptors += now - *held;
    *held = now;
    if (more && peers->max_descriptors > 0 && account->descriptors > peers->max_descriptors)
        return lego_fail(diag, LEGO_E_EXHAUSTED,
                         "user %u has %u connections, regions and file descriptors, over the quota "
                         "of %" PRIu64 " (quotas.descriptors)",
                         (unsigned)account->uid, account->descriptors, peers->max_descriptors);
    return LEGO_OK;
}
