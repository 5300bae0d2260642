// The floor: connections with no more than the system calls that each technique cannot do without, so that one sees how
// much of the time is the kernel's. Driven by bench/lib/floor.mjs: a command a line on standard input, a line of JSON
// for each on standard output.
//
//   floor TECHNIQUE REMOTE PORT SOURCE LOW
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51  // linux/in.h, Linux 6.3
#endif

enum technique { TCP_CONNECT, TCP_PINNED, TCP_PINNED_RANGE, UDP_BIND, UDP_LOCK };
static const char* const techniques[] = {"tcp-connect", "tcp-pinned", "tcp-pinned-range", "udp-bind", "udp-lock"};
enum { TECHNIQUES = sizeof techniques / sizeof *techniques, MOST = 1 << 16 };

static enum technique technique;
static int family;
static struct sockaddr_storage remote, source;
static socklen_t length;
static int low;
static int poll_fd, diag_fd;
static int held[MOST];
static int held_count;

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static void must(int result, const char* what) {
  if (result < 0) fail(what);
}

static double now_us(void) {
  struct timespec time;
  must(clock_gettime(CLOCK_MONOTONIC, &time), "clock_gettime");
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double cpu_us(void) {
  struct rusage usage;
  must(getrusage(RUSAGE_SELF, &usage), "getrusage");
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void parse(const char* ip, int port, struct sockaddr_storage* out) {
  struct sockaddr_in* v4 = (struct sockaddr_in*)out;
  struct sockaddr_in6* v6 = (struct sockaddr_in6*)out;
  if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
    family = v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    length = sizeof *v4;
  } else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
    family = v6->sin6_family = AF_INET6;
    v6->sin6_port = htons((uint16_t)port);
    length = sizeof *v6;
  } else {
    fail(ip);
  }
}

static bool is_udp(void) { return technique == UDP_BIND || technique == UDP_LOCK; }

static void set(int fd, int level, int name, int value) {
  must(setsockopt(fd, level, name, &value, sizeof value), "setsockopt");
}

// The cookie of the socket that datagrams from the remote end to the source would be given to.
static uint64_t owner(const struct sockaddr_storage* local) {
  struct {
    struct nlmsghdr header;
    struct inet_diag_req_v2 query;
  } request = {0};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.query.sdiag_family = (uint8_t)family;
  request.query.sdiag_protocol = IPPROTO_UDP;
  request.query.idiag_states = ~0U;
  struct inet_diag_sockid* id = &request.query.id;
  // Swapped, as udp_dump_one() has it.
  if (family == AF_INET) {
    const struct sockaddr_in *from = (const struct sockaddr_in*)&remote, *to = (const struct sockaddr_in*)local;
    id->idiag_sport = from->sin_port;
    id->idiag_dport = to->sin_port;
    memcpy(id->idiag_src, &from->sin_addr, sizeof from->sin_addr);
    memcpy(id->idiag_dst, &to->sin_addr, sizeof to->sin_addr);
  } else {
    const struct sockaddr_in6 *from = (const struct sockaddr_in6*)&remote, *to = (const struct sockaddr_in6*)local;
    id->idiag_sport = from->sin6_port;
    id->idiag_dport = to->sin6_port;
    memcpy(id->idiag_src, &from->sin6_addr, sizeof from->sin6_addr);
    memcpy(id->idiag_dst, &to->sin6_addr, sizeof to->sin6_addr);
  }
  id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
  if (send(diag_fd, &request, sizeof request, 0) != sizeof request) fail("send");
  struct {
    struct nlmsghdr header;
    struct inet_diag_msg message;
    char attributes[4096];
  } answer;
  if (recv(diag_fd, &answer, sizeof answer, 0) < (ssize_t)sizeof answer.header) fail("recv");
  if (answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY) return 0;
  const uint32_t* cookie = answer.message.id.idiag_cookie;
  return cookie[0] | (uint64_t)cookie[1] << 32;
}

static void set_port(struct sockaddr_storage* address, int port) {
  if (family == AF_INET)
    ((struct sockaddr_in*)address)->sin_port = htons((uint16_t)port);
  else
    ((struct sockaddr_in6*)address)->sin6_port = htons((uint16_t)port);
}

// Ports one after the other: which of them is free is known here, and finding that out is not the floor's business.
static void lock_and_connect(int fd) {
  struct sockaddr_storage local = source;
  set_port(&local, low + held_count);
  uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  must(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), "getsockopt");
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  must(bind(fd, (struct sockaddr*)&local, length), "bind");
  set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
  if (owner(&local) != cookie) {
    fputs("the port was taken\n", stderr);
    exit(1);
  }
  must(connect(fd, (struct sockaddr*)&remote, length), "connect");
  set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

// Begins a connection. Minus one, with errno set, when there is no port.
static int begin(void) {
  const int fd = socket(family, (is_udp() ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  must(fd, "socket");
  switch (technique) {
    case TCP_CONNECT:
      break;
    case TCP_PINNED_RANGE:
    case TCP_PINNED:
      set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      set(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
      // Clamped to the ephemeral range, and no search by parity.
      if (technique == TCP_PINNED_RANGE) set(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (int)(1U | 65535U << 16));
      must(bind(fd, (struct sockaddr*)&source, length), "bind");
      break;
    case UDP_BIND:
      if (bind(fd, (struct sockaddr*)&source, length) != 0) {
        if (errno != EADDRINUSE) fail("bind");
        close(fd);
        errno = EADDRINUSE;
        return -1;
      }
      break;
    case UDP_LOCK:
      lock_and_connect(fd);
      return fd;
  }
  if (connect(fd, (struct sockaddr*)&remote, length) == 0) return fd;
  if (errno == EADDRNOTAVAIL) {
    close(fd);
    errno = EADDRNOTAVAIL;
    return -1;
  }
  if (errno != EINPROGRESS) fail("connect");
  return fd;
}

static void watch(int fd) {
  struct epoll_event event = {.events = EPOLLOUT, .data = {.fd = fd}};
  must(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static void check(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  must(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt");
  errno = error;
  if (error != 0) fail("connect");
}

// A reset, so that nothing stays in TIME-WAIT. To close a socket takes it out of the epoll set.
static void end(int fd) {
  const struct linger linger = {.l_onoff = 1, .l_linger = 0};
  if (!is_udp()) must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), "SO_LINGER");
  must(close(fd), "close");
}

// Waits for those under way, and calls `done` with each that is connected.
static int settle(void (*done)(int fd)) {
  struct epoll_event events[64];
  const int count = epoll_wait(poll_fd, events, 64, -1);
  must(count, "epoll_wait");
  for (int i = 0; i < count; i++) {
    check(events[i].data.fd);
    done(events[i].data.fd);
  }
  return count;
}

static void keep(int fd) {
  if (!is_udp()) must(epoll_ctl(poll_fd, EPOLL_CTL_DEL, fd, NULL), "epoll_ctl");
  held[held_count++] = fd;
}

static int begin_or_fail(void) {
  const int fd = begin();
  must(fd, "no port");
  return fd;
}

// `total` connections, `at_once` of them under way; UDP sockets are connected when connect(2) returns.
static void run(int total, int at_once, void (*done)(int fd)) {
  if (is_udp()) {
    for (int i = 0; i < total; i++) done(begin_or_fail());
    return;
  }
  int begun = 0;
  for (int settled = 0; settled < total;) {
    for (; begun < total && begun - settled < at_once; begun++) watch(begin_or_fail());
    settled += settle(done);
  }
}

static void end_held(void) {
  while (held_count > 0) end(held[--held_count]);
}

// How long `total` connections took that were opened and reset, or only opened.
static void measure(int total, int at_once, void (*done)(int fd)) {
  const double cpu = cpu_us(), start = now_us();
  run(total, at_once, done);
  const double opened = now_us(), opened_cpu = cpu_us();
  end_held();
  printf("{\"us\":%.3f,\"cpu\":%.3f,\"bothUs\":%.3f,\"bothCpu\":%.3f}\n", opened - start, opened_cpu - cpu,
         now_us() - start, cpu_us() - cpu);
}

// One after the other, each closed again: microseconds until connected, or refused.
static void sample(int count, double budget_us) {
  const double until = now_us() + budget_us;
  printf("[");
  for (int i = 0; i < count && (i == 0 || now_us() < until); i++) {
    const double cpu = cpu_us(), start = now_us();
    const int fd = begin();
    const int error = errno;
    const double blocked = now_us() - start;
    if (fd >= 0 && !is_udp()) {
      struct epoll_event event;
      watch(fd);
      must(epoll_wait(poll_fd, &event, 1, -1), "epoll_wait");
      check(fd);
    }
    const double settled = now_us() - start;
    printf("%s{\"blocked\":%.3f,\"settled\":%.3f,\"cpu\":%.3f", i == 0 ? "" : ",", blocked, settled, cpu_us() - cpu);
    if (fd < 0) printf(",\"code\":\"%s\"", error == EADDRINUSE ? "EADDRINUSE" : "EADDRNOTAVAIL");
    printf("}");
    if (fd >= 0) end(fd);
  }
  printf("]\n");
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  int index = 0;
  while (index < TECHNIQUES && strcmp(argv[1], techniques[index]) != 0) index++;
  if (index == TECHNIQUES) return 2;
  technique = (enum technique)index;
  parse(argv[4], 0, &source);
  parse(argv[2], atoi(argv[3]), &remote);
  low = atoi(argv[5]);
  must(poll_fd = epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
  must(diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), "socket");

  char line[128];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int count = 0;
    double extra = 0;
    if (sscanf(line, "churn %d %lf", &count, &extra) == 2)
      measure(count, (int)extra, end);
    else if (sscanf(line, "open %d %lf", &count, &extra) == 2 && held_count == 0)
      measure(count, (int)extra, keep);
    else if (sscanf(line, "sample %d %lf", &count, &extra) == 2)
      sample(count, extra);
    else if (sscanf(line, "fill %d", &count) == 1 && count < MOST) {
      if (count > held_count) run(count - held_count, 16, keep);
      printf("{\"held\":%d}\n", held_count);
    } else {
      fprintf(stderr, "floor: %s", line);
      return 2;
    }
    fflush(stdout);
  }
  return 0;
}
