/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a domain is made of: its definition, from and to JSON. Both drivers start guests from it,
 * and it travels in the header of an image.
 *
 *     {
 *       "name": "g1",              1 to 63 of [A-Za-z0-9._-], not beginning with '.' or '-'
 *       "uuid": "...",             optional; a random one is made
 *       "machine": "pc",           a machine type of QEMU; its options go into args
 *       "accel": ["kvm", "tcg"],   one, or a list that is tried in order
 *       "cpu": "max",              optional, with features as in `-cpu`
 *       "memory-mib": 64,          1 to 16777216
 *       "vcpus": 1,                1 to 512
 *       "firmware": "/...",        optional; a file, or the name of one that QEMU brings
 *       "kernel": "/...",          optional, and with it "initrd" and "append"
 *       "disks": [{"name": "root", "file": "/...", "format": "qcow2",
 *                  "bus": "virtio", "readonly": false}],
 *       "console": {"log": "/..."},     optional: without it the guest has no console; the log,
 *                                       also optional, is a file that is appended to
 *       "args": ["-device", "..."]      optional: for QEMU as they are; they come last
 *     }
 *
 * Of a disk, "bus" (virtio, ide, scsi, floppy; virtio if absent) and "readonly" may be left out.
 * Files are named by absolute paths, because it is another process that opens them. Everything
 * unknown is an error.
 */
#ifndef VST_CORE_DEFINITION_H
#define VST_CORE_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define VST_DEFINITION_MAX (1024 * 1024) /* bytes of JSON */
#define VST_NAME_MAX 63

struct json_object;

struct vst_disk {
    char *name;
    char *file;
    char *format; /* "raw" or "qcow2" */
    char *bus;
    bool readonly;
};

struct vst_console {
    char *log; /* NULL: none */
};

/* Strings that are absent are NULL; so are lists, which otherwise end in NULL. */
struct vst_definition {
    char *name;
    char *uuid; /* never NULL; lower case */
    char *machine;
    char **accels; /* at least one */
    char *cpu;
    uint64_t memory_mib;
    uint64_t vcpus;
    char *firmware;
    char *kernel;
    char *initrd;
    char *append;
    struct vst_disk **disks;
    struct vst_console *console;
    char **args;
};

/* NULL, with INVALID and the member's path, or NO_MEMORY. */
struct vst_definition *vst_definition_parse(const char *text, size_t length,
                                            struct vst_error *ret_err);
/* The same for a definition that is part of something larger. Leaves `from` alone. */
struct vst_definition *vst_definition_decode(struct json_object *from, struct vst_error *ret_err);

/* Canonical: members in the order above, no white space. The text is the caller's to free(). */
char *vst_definition_to_json(const struct vst_definition *def, struct vst_error *ret_err);
struct json_object *vst_definition_encode(const struct vst_definition *def,
                                          struct vst_error *ret_err);

/* Another one like it. */
struct vst_definition *vst_definition_copy(const struct vst_definition *def,
                                           struct vst_error *ret_err);

/* For a definition from somebody who may not give QEMU raw arguments: ACCESS if it has any. */
int vst_definition_check_no_args(const struct vst_definition *def, struct vst_error *ret_err);

/* Gives it another name, checked, and another UUID: it is another guest then. */
int vst_definition_rename(struct vst_definition *def, const char *name, struct vst_error *ret_err);

/* Sets *def to NULL. Accepts NULL. */
void vst_definition_free(struct vst_definition **def);

/* The rule for names of domains, for whoever takes one from outside; it becomes a directory. */
int vst_name_check(const char *name, struct vst_error *ret_err);

#endif
