// SPDX-License-Identifier: Apache-2.0
/*
 * load: the client and the server of a comparison; small, so that what is measured is the path between them.
 *
 *   load CGROUP_PROCS NETNS CPU server NAME PORT   answers "is item 42 in stock?" on PORT, until stdin ends
 *   load CGROUP_PROCS NETNS CPU client ANSWER      obeys lines on stdin, until it ends:
 *       keep|new ADDRESS PORT COUNT MILLISECONDS PAUSE
 *   load numbers                                   the system calls that the lab knows, "name number" each
 *
 * Both enter a cgroup and a network namespace before they make a socket, stay on one CPU, and have one thread.
 *
 * A run ends after COUNT requests or after MILLISECONDS, whichever is first (0: no limit); "keep" asks over one
 * connection, "new" makes one for each request. getppid(2) is called right before the first request and, PAUSE
 * milliseconds after the last one, again: who counts system calls knows by it where to begin and where to end. The answer
 * to a run is one line: "ok requests wrong-answers wall-ns cpu-ns connect-ns first-byte-ns", the two last being medians
 * (first byte: since connect(2) began, or, for "keep", since send(2) began), or "error" and what went wrong.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ROOM 2048    /* bytes of a request or an answer */
#define SOCKETS 1024 /* that the server keeps open */
#define SAMPLES 400000
#define PATIENCE 60 /* seconds that one run may take longer than it was told: an emulated processor needs half */
#define NICE (-15)

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void enter(const char *cgroup, const char *netns, int cpu)
{
	int procs = open(cgroup, O_WRONLY), fd = open(netns, O_RDONLY | O_CLOEXEC);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (procs < 0 || write(procs, "0", 1) != 1)
		die(cgroup);
	close(procs);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		die(netns);
	close(fd);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
	/* Without the right to it, or without autogroups, the ratios still hold. A session is an autogroup. */
	setpriority(PRIO_PROCESS, 0, NICE);
	procs = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (procs >= 0) {
		dprintf(procs, "%d", NICE);
		close(procs);
	}
}

/* ---- server */

static struct {
	int length;
	char data[ROOM];
} sockets[SOCKETS];

static int answer(const char *name, const char *request, char *out)
{
	char body[256];
	long item = 0;

	sscanf(request, "GET /stock/%9ld ", &item);
	snprintf(body, sizeof(body), "%s: item %ld: %ld in stock\n", name, item, item * 7 % 41);
	return snprintf(out, ROOM,
			"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s",
			(int)strlen(body), body);
}

/* Read what is there and answer it, if it is a whole request; 0: the connection is over. */
static int serve(const char *name, int fd)
{
	char out[ROOM];
	int room = ROOM - 1 - sockets[fd].length, length;
	int got = recv(fd, sockets[fd].data + sockets[fd].length, room, 0);

	if (got <= 0)
		return 0;
	sockets[fd].length += got;
	sockets[fd].data[sockets[fd].length] = 0;
	if (!strstr(sockets[fd].data, "\r\n\r\n"))
		return sockets[fd].length < ROOM - 1;
	sockets[fd].length = 0;
	length = answer(name, sockets[fd].data, out);
	return send(fd, out, length, MSG_NOSIGNAL) == length &&
	       !strcasestr(sockets[fd].data, "\r\nconnection: close");
}

static int server(const char *name, int port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, epoll = epoll_create1(EPOLL_CLOEXEC);
	int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct epoll_event wanted = { .events = EPOLLIN }, events[64];

	setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listening, (struct sockaddr *)&here, sizeof(here)) || listen(listening, 1024))
		die("listen");
	wanted.data.fd = listening;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &wanted);
	wanted.data.fd = 0;
	epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &wanted);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll, events, 64, -1);

		for (int n = 0; n < count; n++) {
			int fd = events[n].data.fd;

			if (fd == 0)
				return 0;
			if (fd == listening) {
				fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
				if (fd >= SOCKETS)
					close(fd);
				if (fd < 0 || fd >= SOCKETS)
					continue;
				sockets[fd].length = 0;
				wanted.data.fd = fd;
				epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
			} else if (!serve(name, fd)) {
				close(fd);
			}
		}
	}
}

/* ---- client */

static unsigned int connects[SAMPLES], firsts[SAMPLES];
static const char *failed;
static volatile sig_atomic_t late;

static void on_alarm(int signal)
{
	late = 1;
}

static long long clock_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long long now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static int ascending(const void *a, const void *b)
{
	unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

	return x < y ? -1 : x > y;
}

static unsigned int median(unsigned int *samples, long count)
{
	count = count < SAMPLES ? count : SAMPLES;
	qsort(samples, count, sizeof(*samples), ascending);
	return count ? samples[count / 2] : 0;
}

static int connect_to(const struct sockaddr_in *to)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
		return fd;
	failed = "connect";
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Ask once and read the whole answer. Returns when its first byte came, 0 if none did. */
static long long ask(int fd, const char *request, const char *expected, int *right)
{
	char got[ROOM], *body = NULL, *said;
	long long first = 0;
	int length = 0, wanted = ROOM, more;

	*right = 0;
	failed = "send";
	if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		return 0;
	failed = "no answer";
	while (length < wanted && (more = recv(fd, got + length, ROOM - 1 - length, 0)) > 0) {
		if (!first)
			first = now();
		length += more;
		got[length] = 0;
		if (!body && (body = strstr(got, "\r\n\r\n"))) {
			body += 4;
			said = strcasestr(got, "\r\ncontent-length:");
			wanted = body - got + (said ? atoi(said + 17) : 0);
		}
	}
	*right = body && !strncmp(got, "HTTP/1.1 200 ", 13) && !strcmp(body, expected);
	return first;
}

static void run(const char *how, const char *address, int port, long count, long milliseconds,
		int pause, const char *expected)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct itimerval patience = { .it_value.tv_sec = PATIENCE + milliseconds / 1000 },
			 off = { 0 };
	int keep = !strcmp(how, "keep"), fd = -1, right = 1;
	long requests = 0, wrong = 0;
	long long start, end, cpu, before, connected, first;
	char request[256], rest[64];

	snprintf(request, sizeof(request), "GET /stock/42 HTTP/1.1\r\nhost: inventory.shop\r\n%s\r\n",
		 keep ? "" : "connection: close\r\n");
	inet_pton(AF_INET, address, &to.sin_addr);
	late = 0;
	setitimer(ITIMER_REAL, &patience, NULL);
	/* A first request that nobody counts: sidecars open their own connections for it. */
	fd = connect_to(&to);
	if (fd < 0 || !ask(fd, request, expected, &right))
		goto error;
	if (!keep)
		close(fd), fd = -1;
	usleep(2000); /* until the other side has closed its end */
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	getppid();
	start = now();
	end = milliseconds ? start + milliseconds * 1000000LL : 0;
	while ((!count || requests < count) && (!end || now() < end)) {
		before = now();
		if (!keep && (fd = connect_to(&to)) < 0)
			goto error;
		connected = now();
		first = ask(fd, request, expected, &right);
		if (!first)
			goto error;
		wrong += !right;
		if (requests < SAMPLES)
			connects[requests] = connected - before, firsts[requests] = first - before;
		requests++;
		if (keep)
			continue;
		recv(fd, rest, sizeof(rest), 0); /* the end of the stream: the server closes first */
		close(fd);
		fd = -1;
	}
	end = now();
	if (pause)
		usleep(pause * 1000);
	getppid();
	cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	setitimer(ITIMER_REAL, &off, NULL);
	if (fd >= 0)
		close(fd);
	printf("ok %ld %ld %lld %lld %u %u\n", requests, wrong, end - start, cpu,
	       median(connects, requests), median(firsts, requests));
	return;
error:
	printf("error %s: %s\n", failed,
	       late  ? "not within the time" :
	       errno ? strerror(errno) :
		       "the connection was closed");
	getppid();
	setitimer(ITIMER_REAL, &off, NULL);
	if (fd >= 0)
		close(fd);
}

static int client(const char *expected)
{
	struct sigaction action = { .sa_handler = on_alarm }; /* no SA_RESTART: it ends what waits */
	char how[8], address[32];
	long count, milliseconds;
	int port, pause;

	sigaction(SIGALRM, &action, NULL);
	puts("ready");
	fflush(stdout);
	while (scanf("%7s %31s %d %ld %ld %d", how, address, &port, &count, &milliseconds, &pause) ==
	       6) {
		errno = 0;
		run(how, address, port, count, milliseconds, pause, expected);
		fflush(stdout);
	}
	return 0;
}

static int numbers(void)
{
#define CALL(name) printf("%s %d\n", #name, SYS_##name);
	CALL(read)
	CALL(write)
	CALL(readv)
	CALL(writev)
	CALL(recvfrom)
	CALL(sendto)
	CALL(recvmsg)
	CALL(sendmsg)
	CALL(socket)
	CALL(connect)
	CALL(bind)
	CALL(accept)
	CALL(accept4)
	CALL(shutdown)
	CALL(close)
	CALL(getsockopt)
	CALL(setsockopt)
	CALL(getsockname)
	CALL(getpeername)
	CALL(epoll_ctl)
	CALL(epoll_pwait)
#ifdef SYS_epoll_wait
	CALL(epoll_wait)
#endif
	CALL(ioctl)
	CALL(fcntl)
	CALL(futex)
	CALL(clock_nanosleep)
	CALL(nanosleep)
	CALL(getppid)
	CALL(clock_gettime)
	CALL(gettimeofday)
	CALL(mmap)
	CALL(munmap)
	CALL(madvise)
	CALL(brk)
	CALL(timerfd_settime)
	CALL(eventfd2)
	CALL(getpid)
	CALL(gettid)
	CALL(getrandom)
	CALL(openat)
	CALL(sched_yield)
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "numbers"))
		return numbers();
	if (argc < 6)
		return 2;
	prctl(PR_SET_NAME, argv[4]);
	enter(argv[1], argv[2], atoi(argv[3]));
	return argc == 7 ? server(argv[5], atoi(argv[6])) : client(argv[5]);
}
