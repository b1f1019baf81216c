/*
 * The helper of the tests of signals: sends and waits for signals by number through the kernel's own
 * calls, including those that the C library keeps to itself (32 and 33).
 *
 *   probe signals NAME LAST          prints "NAME ready", then "NAME <number>" for each signal; leaves after LAST
 *   probe bounce PID                 sends PID every signal in turn and prints it when it has come back
 *   probe send PID NUMBER...         sends PID these signals; leaves with 3 if there is no such process
 *   probe raise NUMBER               dies from it
 *   probe inherit FROM-TO COMMAND    ignores and blocks these signals, and becomes COMMAND
 *   probe pending NUMBER COMMAND     blocks the signal, sends it to itself, and becomes COMMAND
 *   probe worker NAME MILLISECONDS   prints "NAME ready"; this long after SIGTERM, prints "NAME finished" and leaves
 *   probe deaf NAME                  prints "NAME ready" and ignores every signal that can be ignored
 *   probe storm COUNT CODE           leaves with CODE at the moment at which this many orphans end
 *   probe reaped COUNT               makes this many orphans, and leaves when no zombie is left
 *   probe adopted                    prints the parent of an orphan that it made
 *   probe hangup COMMAND             gives COMMAND a terminal, shows its output, and closes the terminal at SIGUSR1
 *   probe full COMMAND               becomes COMMAND with a full pipe as standard error that is never read
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* As the kernel has it: bit n - 1 is signal n. */
typedef uint64_t set;
static const set ALL = ~(set)0;

static void block(set signals) {
    if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, &signals, NULL, sizeof signals)) exit(99);
}

static int wait_for(set signals, const struct timespec *limit) {
    for (;;) {
        int signal = (int)syscall(SYS_rt_sigtimedwait, &signals, NULL, limit, sizeof signals);
        if (signal > 0 || (limit && errno == EAGAIN)) return signal;
    }
}

static void ignore(int signal) {
    /* struct sigaction of the kernel: handler, flags, restorer, mask. */
    uint64_t action[4] = {(uint64_t)(uintptr_t)SIG_IGN, 0, 0, 0};
    syscall(SYS_rt_sigaction, signal, action, NULL, sizeof(set));
}

static void pause_for(long milliseconds) {
    struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&left, &left) && errno == EINTR) continue;
}

/* One write, so that lines of several processes do not mix. */
static void say(const char *name, const char *what) {
    char line[200];
    int length = snprintf(line, sizeof line, "%s %s\n", name, what);
    if (write(1, line, (size_t)length) != length) exit(98);
}

static void say_number(const char *name, long number) {
    char text[30];
    snprintf(text, sizeof text, "%ld", number);
    say(name, text);
}

static void become(char **command) {
    execvp(command[0], command);
    perror(command[0]);
    exit(97);
}

static int signals(const char *name, int last) {
    block(ALL);
    say(name, "ready");
    for (;;) {
        int signal = wait_for(ALL, NULL);
        say_number(name, signal);
        if (signal == last) return 0;
    }
}

static int bounce(pid_t pid) {
    block(ALL);
    for (int signal = 1; signal <= 64; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) continue;
        if (kill(pid, signal)) return 96;
        struct timespec limit = {20, 0};
        say_number("back", wait_for(ALL, &limit));
    }
    return 0;
}

/* Zombies, this process excepted, and -1 where /proc cannot be read. */
static long zombies(void) {
    long found = 0;
    DIR *proc = opendir("/proc");
    if (!proc) return -1;
    for (struct dirent *entry; (entry = readdir(proc));) {
        char path[300], line[512];
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0) continue;
        ssize_t length = read(file, line, sizeof line - 1);
        close(file);
        if (length <= 0) continue;
        line[length] = 0;
        char *state = strrchr(line, ')');
        if (state && state[2] == 'Z') found++;
    }
    closedir(proc);
    return found;
}

/* A child that makes zombies and, when it ends, leaves all of them at once to the process that adopts orphans. */
static pid_t brood(long count) {
    int ready[2];
    if (pipe(ready)) exit(95);
    pid_t parent = fork();
    if (parent == 0) {
        for (long made = 0; made < count; made++) {
            pid_t child = fork();
            if (child == 0) _exit(0);
            if (child < 0) _exit(94);
        }
        if (write(ready[1], "", 1) != 1) _exit(93);
        pause();
    }
    char byte;
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) exit(92);
    close(ready[0]);
    return parent;
}

static int storm(long count, int code) {
    kill(brood(count), SIGKILL);
    /* They are not waited for: they end at the same moment as this process. */
    return code;
}

static int reaped(long count) {
    pid_t parent = brood(count);
    say_number("zombies", zombies() >= count);
    kill(parent, SIGKILL);
    waitpid(parent, NULL, 0);
    for (int tries = 0; tries < 400; tries++) {
        if (zombies() == 0) return 0;
        pause_for(50);
    }
    return 1;
}

static int adopted(void) {
    int report[2];
    if (pipe(report)) return 95;
    pid_t middle = fork();
    if (middle == 0) {
        pid_t before = getpid();
        if (fork() == 0) {
            while (getppid() == before) pause_for(5);
            long parent = getppid();
            if (write(report[1], &parent, sizeof parent) != sizeof parent) _exit(1);
        }
        _exit(0);
    }
    long parent = 0;
    if (waitpid(middle, NULL, 0) != middle || read(report[0], &parent, sizeof parent) != sizeof parent) return 91;
    say_number("parent", getppid());
    say_number("orphan's", parent);
    return 0;
}

static void fill_standard_error(void) {
    int ends[2];
    if (pipe(ends) || fcntl(ends[1], F_SETFL, O_NONBLOCK)) exit(95);
    while (write(ends[1], "", 1) == 1) continue;
    fcntl(ends[1], F_SETFL, 0);
    dup2(ends[1], 2);
    close(ends[1]);
    /* The reading end stays with a process that never reads, and ends with its session. */
    if (fork() == 0) {
        setsid();
        /* The service's uid, so that the init may end it with everything else that is left. */
        if (setgid(1000) || setuid(1000)) _exit(89);
        close(1);
        for (;;) pause();
    }
    close(ends[0]);
}

static int hang_up(char **command) {
    block((set)1 << (SIGUSR1 - 1));
    int keyboard = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (keyboard < 0 || grantpt(keyboard) || unlockpt(keyboard)) return 95;
    int device = open(ptsname(keyboard), O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (device < 0) return 94;
    pid_t child = fork();
    if (child == 0) {
        for (int stream = 0; stream < 3; stream++) dup2(device, stream);
        set none = 0;
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof none);
        become(command);
    }
    close(device);
    fcntl(keyboard, F_SETFL, O_NONBLOCK);
    struct timespec short_time = {0, 20000000};
    while (wait_for((set)1 << (SIGUSR1 - 1), &short_time) < 0) {
        char text[4096];
        ssize_t length = read(keyboard, text, sizeof text);
        if (length > 0 && write(1, text, (size_t)length) != length) return 98;
    }
    close(keyboard);
    int ended = 0;
    if (waitpid(child, &ended, 0) != child) return 93;
    return WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
}

int main(int count, char **words) {
    const char *mode = count > 1 ? words[1] : "";
#define IS(name, least) (!strcmp(mode, name) && count >= 2 + (least))
    if (IS("signals", 2)) return signals(words[2], atoi(words[3]));
    if (IS("bounce", 1)) return bounce(atoi(words[2]));
    if (IS("send", 2)) {
        for (int word = 3; word < count; word++)
            if (kill(atoi(words[2]), atoi(words[word]))) return errno == ESRCH ? 3 : 1;
        return 0;
    }
    if (IS("raise", 1)) return kill(getpid(), atoi(words[2]));
    if (IS("inherit", 2)) {
        int from = atoi(words[2]), to = atoi(strchr(words[2], '-') + 1);
        for (int signal = from; signal <= to; signal++) {
            ignore(signal);
            block((set)1 << (signal - 1));
        }
        become(words + 3);
    }
    if (IS("pending", 2)) {
        block((set)1 << (atoi(words[2]) - 1));
        kill(getpid(), atoi(words[2]));
        become(words + 3);
    }
    if (IS("worker", 2)) {
        block(ALL);
        say(words[2], "ready");
        while (wait_for(ALL, NULL) != SIGTERM) continue;
        pause_for(atol(words[3]));
        say(words[2], "finished");
        return 0;
    }
    if (IS("deaf", 1)) {
        for (int signal = 1; signal <= 64; signal++) ignore(signal);
        say(words[2], "ready");
        for (;;) pause();
    }
    if (IS("storm", 2)) return storm(atol(words[2]), atoi(words[3]));
    if (IS("reaped", 1)) return reaped(atol(words[2]));
    if (IS("adopted", 0)) return adopted();
    if (IS("hangup", 1)) return hang_up(words + 2);
    if (IS("full", 1)) {
        fill_standard_error();
        become(words + 2);
    }
    fprintf(stderr, "probe: unknown mode %s\n", mode);
    return 90;
}
