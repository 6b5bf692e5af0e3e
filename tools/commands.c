/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands: their table, and the help that is made of it.
 */
#include <stdio.h>
#include <string.h>

#include "options.h"

#define MOVES (OPTION_RATE | OPTION_STALL)

const struct command commands[] = {
    {"start", "FILE", 1, OPTION_PAUSED, "start a guest from a definition",
     "FILE is a definition in JSON, as docs/definition.md describes it; - is standard input.\n",
     "the guest that is being started, to end", command_start, ABOUT_GUESTS},
    {"list", "", 0, 0, "list the guests",
     "One line a guest. On a narrow terminal columns are left out, from the right. With --quiet\n"
     "names only.\n",
     "the list", command_list, ABOUT_GUESTS},
    {"info", "NAME", 1, 0, "tell everything about a guest",
     "NAME is a guest's name or UUID, here and in the other commands.\n", "the answer",
     command_info, ABOUT_GUESTS},
    {"suspend", "NAME", 1, 0, "pause a guest", "Its memory stays where it is.\n",
     "the guest to answer", command_suspend, ABOUT_GUESTS},
    {"resume", "NAME", 1, 0, "let a paused guest run", "", "the guest to answer", command_resume,
     ABOUT_GUESTS},
    {"shutdown", "NAME", 1, 0, "ask a guest to shut down, and wait until it has",
     "Presses the guest's ACPI power button. A guest that does not listen never ends: unless\n"
     "--timeout says otherwise, the command gives up after 60 seconds.\n",
     "the guest to answer", command_shutdown, ABOUT_GUESTS},
    {"destroy", "NAME", 1, 0, "end a guest at once",
     "As if its power was cut. Also cleans up after a guest that has crashed.\n",
     "the guest to end", command_destroy, ABOUT_GUESTS},
    {"save", "NAME TARGET", 2, OPTION_LIVE | OPTION_KEEP_RUNNING | OPTION_COMPRESS | MOVES,
     "save a guest's state into a file or pipe, and end it",
     "TARGET is a file, which appears under its name only when it is complete and on disk; - is\n"
     "standard output. The guest is paused meanwhile, and ends once everything was taken. When\n"
     "anything fails, or at Ctrl-C, it goes on as before and TARGET is as it was.\n",
     "the save to be undone, so that the guest goes on as before", command_save, ABOUT_GUESTS},
    {"restore", "SOURCE", 1, OPTION_NAME | OPTION_PAUSED | MOVES,
     "restore a guest from what `save` wrote",
     "SOURCE is a file; - is standard input. The guest runs on if it ran when it was saved, and\n"
     "not before the last byte is verified. When anything fails nothing of it is left.\n",
     "the half restored guest to end", command_restore, ABOUT_GUESTS},
    {"console", "NAME", 1, OPTION_READ_ONLY, "talk to a guest's serial console",
     "Begins with the last of what the guest printed. On a terminal ^] leaves; otherwise the end\n"
     "of standard input does.\n",
     "the console to be let go", command_console, ABOUT_GUESTS},
    {"screenshot", "NAME TARGET", 2, 0, "write what a guest's screen shows as a PNG",
     "TARGET is a file; - is standard output.\n", "the screenshot to be undone", command_screenshot,
     ABOUT_GUESTS},
    {"upload", "SOURCE POOL/NAME", 2, OPTION_OFFSET | MOVES,
     "make a volume of a file, or of what comes through a pipe",
     "SOURCE is a file; - is standard input. The volume appears, or replaces another, only when "
     "it\n"
     "is complete and on disk. With --offset it is written into one that exists, in place: then a\n"
     "failure leaves what was written so far. Holes stay holes.\n",
     "the upload to be undone", command_upload, ABOUT_VOLUMES},
    {"download", "POOL/NAME TARGET", 2, OPTION_OFFSET | OPTION_LENGTH | MOVES,
     "write a volume, or a part of it, into a file or pipe",
     "TARGET is a file, which appears under its name only when it is complete and on disk; - is\n"
     "standard output. Holes stay holes in a file.\n",
     "the download to be undone", command_download, ABOUT_VOLUMES},
    {"volumes", "[POOL]", 1, 0, "list the volumes of a pool, or of all",
     "With --quiet names only.\n", "the list", command_volumes, ABOUT_VOLUMES},
    {"volume-delete", "POOL/NAME", 1, 0, "delete a volume", "Completes when the disk knows it.\n",
     "the disk to answer", command_volume_delete, ABOUT_VOLUMES},
    {"image info", "FILE", 1, OPTION_STALL, "tell what an image is of",
     "Reads no more than the header. FILE may be - for standard input.\n", "the file to be let go",
     command_image_info, ABOUT_GUESTS},
    {"image check", "FILE", 1, MOVES, "verify that an image is whole and undamaged",
     "Reads every record and verifies it, as `restore` does. FILE may be - for standard input.\n"
     "The exit status is 9 if anything is damaged or missing.\n",
     "the file to be let go", command_image_check, ABOUT_GUESTS},
    {"pki init", "DIR", 1, 0, "make an authority for certificates",
     "DIR gets the authority's certificate, its key and an empty list of revocations. The key "
     "signs\n"
     "whatever is trusted later: DIR belongs on no host that guests run on.\n",
     "the files to be written", command_pki_init, ABOUT_CERTIFICATES},
    {"pki issue", "DIR", 1, OPTION_HOSTS | OPTION_CLIENT, "issue certificates of an authority",
     "DIR is what `pki init` made. With --host or --ip a certificate for a host that is connected\n"
     "to, with --client one for whoever connects, or both. DIR/NAME, by the first name, gets the\n"
     "certificates, their keys, and what else is needed there. Nothing is overwritten.\n",
     "the files to be written", command_pki_issue, ABOUT_CERTIFICATES},
    {"pki revoke", "DIR NAME", 2, 0, "revoke what was issued under a name",
     "Adds the certificates in DIR/NAME to DIR/cacrl.pem, which is then to be copied to every "
     "host\n"
     "and client, and moves DIR/NAME to DIR/revoked.\n",
     "the files to be written", command_pki_revoke, ABOUT_CERTIFICATES},
    {"pki check", "DIR", 1, OPTION_HOSTS, "verify the certificates in a directory",
     "DIR is that of an authority, of a host or of a client: signatures, dates, revocation, keys\n"
     "and who can read them, and that the host's certificate has the names given. The exit status\n"
     "is 4 if anything is wrong.\n",
     "the check", command_pki_check, ABOUT_CERTIFICATES},
    {"migrate", "NAME DESTINATION", 2, OPTION_MIGRATE | OPTION_STALL,
     "move a guest to another host while it runs",
     "DESTINATION is the URI of the other host, as the guest's host sees it: it connects there "
     "with\n"
     "its own certificate, and goes on when this command ends. --timeout is how long it may take\n"
     "before --then is done. Ctrl-C gives it up, if that is still possible. The guest never runs\n"
     "on both sides. With --relay all goes through this command, and DESTINATION is as seen from "
     "here.\n"
     "The exit status is 11 if something stands in the way, 12 if it is done but\n"
     "something is left here, and 13 if the guest is paused until its owner is known.\n",
     "the migration to be given up, or to end", command_migrate, ABOUT_GUESTS},
    {"migrations", "", 0, OPTION_WATCH, "list the migrations from and to a host",
     "Those that run, those in doubt, and the last that ended.\n", "the list", command_migrations,
     ABOUT_GUESTS},
    {"migration relay", "TOKEN DESTINATION", 2, OPTION_STALL,
     "take up what a command with --relay has left",
     "TOKEN, here and below, is that of `migrations`, its beginning, or the name of the guest. "
     "If the\n"
     "guest is in doubt this ends it, by what the destination says.\n",
     "the migration to be given up, or to end", command_migration_relay, ABOUT_GUESTS},
    {"migration cancel", "TOKEN", 1, 0, "give a migration up, if that is still possible",
     "The guest stays on the source. Once that has handed it over it cannot be taken back.\n"
     "At a destination that has all of the guest this ends a copy that may be the last one.\n",
     "the answer", command_migration_cancel, ABOUT_GUESTS},
    {"migration set", "TOKEN", 1, OPTION_CHANGE, "change a migration while it runs", "",
     "the answer", command_migration_set, ABOUT_GUESTS},
    {"migration post-copy", "TOKEN", 1, 0, "let the guest run on the destination at once",
     "What is left of its memory follows. For a migration that was begun with --post-copy.\n",
     "the answer", command_migration_post_copy, ABOUT_GUESTS},
    {"migration resolve", "TOKEN", 1, OPTION_RESOLVE | OPTION_FORGET,
     "say whose the guest is, where that is in doubt",
     "For a host that is lost for good; else the hosts find out by themselves, and a whole copy "
     "is\n"
     "kept until they do (see `migrations`). On the side that\n"
     "--guest-runs-on names the guest is resumed, or left as it is; on the other it is ended, or\n"
     "never run. It acts on the host that is connected to; the other one, if it comes back, is "
     "told\n"
     "the same. Make sure first that the guest does not run on the other side: if it does, both\n"
     "write to its disks. In post-copy it is known to have run there: `source` takes\n"
     "--other-host-is-lost then.\n",
     "the answer", command_migration_resolve, ABOUT_GUESTS},
    {"migration forget", "TOKEN", 1, OPTION_FORGET,
     "keep no answers for a host that is lost for good",
     "For a migration whose outcome is known here, and which waits for nothing but the words of "
     "the\n"
     "other host (clean-up, in `migrations`). --other-host-is-lost has to be said: if that host "
     "comes\n"
     "back and asks, it is told that nothing is known here, and lets its copy of the guest run.\n",
     "the answer", command_migration_forget, ABOUT_GUESTS},
    {"ping", "", 0, OPTION_COUNT, "measure the time to the server and back",
     "Nothing else that is under way makes it longer. With --quiet the summary alone.\n",
     "the answer", command_ping, ABOUT_GUESTS},
    {"stats", "", 0, 0, "tell what the connection and its server count",
     "What is counted is described in virstream(1).\n", "the answer", command_stats, ABOUT_GUESTS},
    {"events", "", 0, 0, "follow what happens to guests",
     "One line for each guest that is started, paused, resumed, stopped or crashes, until Ctrl-C;\n"
     "with --json one object a line. In this process alone (qemu:///) that is what happens "
     "through\n"
     "it, which is nothing: a server is needed.\n",
     "the connection to close", command_events, ABOUT_GUESTS},
    {"doctor", "URI", 1, 0, "look for what is wrong with a connection",
     "Takes one step after the other, from the name look-up to a first call, and says what it\n"
     "found at each; what is wrong with the next one comes last, and what to do about it.\n",
     "the connection to be given up", command_doctor, ABOUT_GUESTS},
    {0},
};

/* Whether `row` is `word`, or `word next`. */
static bool is_named(const struct command *row, const char *word, const char *next)
{
    size_t length = strlen(word);

    if (strncmp(row->name, word, length) != 0)
        return false;
    if (!row->name[length])
        return true;
    return row->name[length] == ' ' && next && strcmp(row->name + length + 1, next) == 0;
}

const struct command *command_find(const char *word, const char *next)
{
    for (const struct command *row = commands; row->name; row++)
        if (is_named(row, word, next))
            return row;
    return NULL;
}

void command_seconds(const char *word, char *ret, size_t size)
{
    size_t length = strlen(word);
    size_t at = 0;

    *ret = '\0';
    for (const struct command *row = commands; row->name && at < size; row++)
        if (strncmp(row->name, word, length) == 0 && row->name[length] == ' ')
            at += (size_t)snprintf(ret + at, size - at, "%s%s", at ? ", " : "",
                                   row->name + length + 1);
}

void help_print(FILE *to, const struct command *command)
{
    fprintf(to, "usage: virstream %s%s%s%s\n\n%c%s.\n", command->name,
            command->options ? " [OPTIONS]" : "", command->count ? " " : "", command->arguments,
            command->summary[0] - 'a' + 'A', command->summary + 1);
    fputs(command->details, to);
    if (command->options)
        fputs("\nOptions:\n", to);
    options_print(to, command->options);
    fputs("\nOptions of every command:\n", to);
    options_print(to, OPTION_EVERYWHERE);
}

void help_print_all(FILE *to)
{
    fputs("usage: virstream [OPTIONS] COMMAND [ARGUMENTS]\n\n"
          "Moves the state of virtual machines through streams.\n\nCommands:\n",
          to);
    for (const struct command *row = commands; row->name; row++) {
        char form[40];

        snprintf(form, sizeof(form), "%s %s", row->name, row->arguments);
        fprintf(to, "  %-27s %s\n", form, row->summary);
    }
    fputs("\nOptions:\n", to);
    options_print(to, OPTION_EVERYWHERE);
    fputs("\nMore: virstream COMMAND --help, and virstream(1).\n", to);
}
