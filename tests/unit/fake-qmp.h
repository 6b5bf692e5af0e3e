/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A QMP server for tests, at the other end of a socketpair in the same loop. Left alone it behaves
 * as QEMU does: it greets, wants qmp_capabilities first, answers every command with {}, and reads
 * its socket byte by byte, so that a descriptor belongs to the command it came with.
 *
 * It misbehaves by script. A rule says what is said when a command comes, as text, in which $ID
 * stands for the id of that command and $NEXT for the number after it; the text is all there is:
 *
 *     vst_fake_qmp_on(fake, "stop", VST_FAKE_EVENT("STOP", "{}") VST_FAKE_RETURN("{}"),
 * VST_FAKE_STAY) vst_fake_qmp_on(fake, "cont", "", VST_FAKE_STAY)                     silence
 *     vst_fake_qmp_on(fake, "quit", "{\"retu", VST_FAKE_CLOSE)             end within a line
 *     vst_fake_qmp_on(fake, VST_FAKE_OTHERS, "", VST_FAKE_STAY)            all without a rule
 *
 * Several rules for one command are used one after the other; the last one stays.
 *
 * It aborts where a real program would handle an error.
 */
#ifndef VST_TESTS_UNIT_FAKE_QMP_H
#define VST_TESTS_UNIT_FAKE_QMP_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

struct json_object;
struct vst_fake_qmp;

#define VST_FAKE_OTHERS "*"
#define VST_FAKE_RETURN(value) "{\"return\": " value ", \"id\": $ID}\r\n"
#define VST_FAKE_ERROR(class, desc) \
    "{\"error\": {\"class\": \"" class "\", \"desc\": \"" desc "\"}, \"id\": $ID}\r\n"
#define VST_FAKE_EVENT(name, data)                                                            \
    "{\"timestamp\": {\"seconds\": 1700000000, \"microseconds\": 250000}, \"event\": \"" name \
    "\", \"data\": " data "}\r\n"
#define VST_FAKE_GREETING                                                              \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
    "\"package\": \"fake\"}, \"capabilities\": [\"oob\"]}}\r\n"

/* What follows when the text is out. */
enum vst_fake_end {
    VST_FAKE_STAY,
    VST_FAKE_CLOSE, /* as QEMU does after quit */
    VST_FAKE_RESET, /* as QEMU does when it dies: bytes it had not read are lost, ECONNRESET */
};

/* `greeting` NULL is the usual one, "" none. *ret_fd is the client's end, the caller's. */
struct vst_fake_qmp *vst_fake_qmp_new(struct event_base *base, const char *greeting, int *ret_fd);
/* Closes its end, if that is still open. Sets *fake to NULL. */
void vst_fake_qmp_free(struct vst_fake_qmp **fake);

/* A rule; both texts are kept by reference. */
void vst_fake_qmp_on(struct vst_fake_qmp *fake, const char *command, const char *says,
                     enum vst_fake_end end);

/* `fn` hears of each command before it is answered, and may call anything here but free. */
void vst_fake_qmp_watch(struct vst_fake_qmp *fake,
                        void (*fn)(void *opaque, struct vst_fake_qmp *fake, const char *command,
                                   struct json_object *arguments),
                        void *opaque);
/* The descriptor that came last, now the caller's; -1 if none came since. */
int vst_fake_qmp_take_fd(struct vst_fake_qmp *fake);

/* Speaks without being asked: an event, or rubbish. */
void vst_fake_qmp_say(struct vst_fake_qmp *fake, const char *text);
/* Answers late: $ID is that of the last such command. Says nothing if none has come. */
void vst_fake_qmp_answer(struct vst_fake_qmp *fake, const char *command, const char *text);
/* `count` times this byte. */
void vst_fake_qmp_flood(struct vst_fake_qmp *fake, char byte, size_t count);
/* Closes its end when all that it has said is out. */
void vst_fake_qmp_close(struct vst_fake_qmp *fake);

/* Closes its end after so many bytes from now, wherever in a line that is. */
void vst_fake_qmp_cut(struct vst_fake_qmp *fake, size_t bytes);
/* From now on it writes at most so many bytes in one turn of the loop. */
void vst_fake_qmp_set_pace(struct vst_fake_qmp *fake, size_t bytes);
/* Lets commands pile up in the socket, or takes them again. */
void vst_fake_qmp_set_deaf(struct vst_fake_qmp *fake, bool deaf);

/* Takes no more commands from now on: to the client, a write fails. It can still speak. */
void vst_fake_qmp_refuse(struct vst_fake_qmp *fake);

/* How often a command came; NULL: all of them, qmp_capabilities included. */
unsigned vst_fake_qmp_count(const struct vst_fake_qmp *fake, const char *command);
/* Bytes of what it has said that are not in the socket yet. */
size_t vst_fake_qmp_unsent(const struct vst_fake_qmp *fake);
/* Whether the client has closed its end. */
bool vst_fake_qmp_left(const struct vst_fake_qmp *fake);

#endif
