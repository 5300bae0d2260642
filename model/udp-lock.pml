/*
 * The lock under which connectx gives a UDP socket its 4-tuple, and as much of the kernel as it rests on.
 *
 * Three contenders want one local address and port, towards two destinations. Between any two steps any other contender may
 * run, and each may be killed. README.md says what each step stands for, what is left out, and what is checked.
 *
 * With no -D this is the algorithm as implemented. Each of the following spoils it, or takes an assumption away:
 *
 *   UNLOCK_BEFORE_CONNECT  SO_REUSEADDR is set again before connect, after a lookup
 *   LOOKUP_BEFORE_LOCK     the lookup comes before SO_REUSEADDR is cleared
 *   NO_LOCK                SO_REUSEADDR is never cleared
 *   NO_COOKIE              whatever the lookup finds will do if it is not connected
 *   NO_BARRIER             nothing waits for the binds under way when SO_REUSEADDR was cleared
 *   NO_UNLOCK              SO_REUSEADDR stays cleared after connect
 *   ALONE_SHARES           the bind that wants to be alone has SO_REUSEADDR set
 *   ALONE_UNLOCKS          whoever is alone sets SO_REUSEADDR before connect
 *   TRUST_STATE            the remote end in the answer is not compared with the one asked for
 *   TIES_VARY              equally good sockets are found in no fixed order (SO_INCOMING_CPU)
 *   DEVICE_BLIND           with DEVICE: those without a device look up without one
 *   IMPATIENT              with SETTLE: a loser tries again at once instead of outwaiting the winner
 *   NO_VERIFY              with REWRITE: nobody looks where the kernel has connected the socket
 *
 * and these change the question:
 *
 *   DEVICE                 contender 0 is bound to a device
 *   REWRITE                connect may lead to the other destination than the one that was asked for
 *   SETTLE                 for livelock: nobody starts afresh, so that every endless run is one
 */

#define N 3

#define NOBODY 7 /* no contender */
#define CLOSED 6   /* a socket that was closed while a lookup had it */

/* ------------------------------------------------------------------------------------------------------------- the kernel */

/* The hash chain of the local address and port, newest first. A contender has one socket at a time. */
byte chain[N];
byte length = 0;
byte chain_lock = NOBODY; /* udp_hslot.lock: bind holds it from its first check to its insertion */

bool hashed[N];
bool reuse[N];       /* sk_reuse: read live by every bind, and not guarded by the lock */
byte peer[N];        /* inet_daddr and inet_dport; 0 is none */
bool established[N]; /* sk_state, written after the peer */

/* A lookup walks the chain without the lock: it misses what is inserted after its start, and reads each socket as it passes. */
bool todo[N * N]; /* [w * N + s]: the walk of w has yet to pass s */
byte best[N];
byte score[N];

#define walking(w) (todo[w * N] || todo[w * N + 1] || todo[w * N + 2])

#ifdef DEVICE
#define device(s) ((s) == 0)
#ifdef DEVICE_BLIND
#define last_pass 0
#else
#define last_pass (device(me) -> 0 : 1)
#endif
/* The first pass asks with one's own device, or with one that nobody has; the second with that of the others. */
#define visible(s) (!device(s) || device(me) || pass == 1)
#else
#define device(s) false
#define last_pass 0
#define visible(s) true
#endif

/* compute_score(): connected elsewhere is no candidate; connected beats a device, a device beats none. */
#define scored(s) \
  ((!visible(s) || (peer[s] != 0 && peer[s] != dst)) -> 0 : 1 + (device(s) -> 2 : 0) + (peer[s] != 0 -> 4 : 0))

inline insert_at_head() {
  i = length;
  do
  :: i > 0 -> chain[i] = chain[i - 1]; i--
  :: else -> break
  od;
  chain[0] = me;
  length++;
  hashed[me] = true
}

inline remove() {
  i = 0;
  do
  :: chain[i] != me -> i++
  :: else -> break
  od;
  length--;
  do
  :: i < length -> chain[i] = chain[i + 1]; i++
  :: else -> break
  od;
  chain[length] = 0;
  i = 0;
  do
  :: i < N ->
    todo[i * N + me] = false;
    best[i] = (best[i] == me -> CLOSED : best[i]);
    i++
  :: else -> i = 0; break
  od;
  owners[peer[me]] = owners[peer[me]] - established[me];
#ifdef REWRITE
  given[me] = false;
#endif
  hashed[me] = false;
  peer[me] = 0;
  established[me] = false
}

/* ---------------------------------------------------------------------------------------------------- what is asked of it */

byte owners[3]; /* by destination: how many connected sockets there are on its 4-tuple */

#ifdef REWRITE
bool given[N]; /* the socket is its owner's */

#define twin(s) ((s) != me && established[s] && peer[s] == peer[me])
#define has_twin (twin(0) || twin(1) || twin(2))
#define same(a, b) (given[a] && given[b] && peer[a] == peer[b])
#define given_twice (same(0, 1) || same(0, 2) || same(1, 2)) /* two owners of one 4-tuple */
#endif

#define unlocked(s) (!hashed[s] || (established[s] && reuse[s]))

/* When nobody can move any more, nobody is left in the critical section. */
proctype quiescence() {
end:
  timeout;
  assert(chain_lock == NOBODY);
  assert(unlocked(0) && unlocked(1) && unlocked(2))
}

/* ---------------------------------------------------------------------------------------------------------- the algorithm */

/* SIGKILL ends a process between two system calls. */
#define OR_KILLED :: goto gone

#ifdef ALONE_SHARES
#define SHARES true
#else
#define SHARES false
#endif

inline look_up() {
  pass = 0;
  do
  :: if
    :: atomic { /* the walk starts */
        if
        :: skip
        :: pass = last_pass /* where there is no device but that of the others: on loopback */
        fi;
        todo[me * N] = hashed[0];
        todo[me * N + 1] = hashed[1];
        todo[me * N + 2] = hashed[2];
        best[me] = NOBODY;
        score[me] = 0
      }
    OR_KILLED
    fi;
    do
    :: atomic {
        walking(me) -> /* one socket is read */
        do
        :: !todo[me * N + chain[i]] -> i++
        :: else -> break
        od;
        if
        :: scored(chain[i]) > score[me] -> score[me] = scored(chain[i]); best[me] = chain[i]
#ifdef TIES_VARY
        :: scored(chain[i]) == score[me] && score[me] > 0 -> best[me] = chain[i]
#endif
        :: scored(chain[i]) <= score[me]
        fi;
        todo[me * N + chain[i]] = false;
        i = 0
      }
    :: atomic {
        !walking(me) -> /* the answer is written: state and remote end as they are by now */
        score[me] = 0;
        if
        :: best[me] == me -> break
        :: best[me] != me && best[me] >= N -> goto contended /* ENOENT: what was found had just been closed */
        :: best[me] != me && best[me] < N ->
          if
#ifdef TRUST_STATE
          :: established[best[me]] -> assert(peer[best[me]] == dst); goto gone
#else
          :: established[best[me]] && peer[best[me]] == dst -> goto gone /* tuple-in-use */
#endif
#ifdef NO_COOKIE
          :: else -> break
#else
          :: else -> goto contended
#endif
          fi
        fi
      }
    od;
    best[me] = NOBODY;
    if
    :: pass < last_pass -> pass++
    :: else -> pass = 0; break
    fi
  od
}

proctype contender(byte me) {
  byte dst, i, pass;
  bool alone; /* binds where nobody may be */
#ifdef REWRITE
  bool lone; /* nobody else can be on the port */
#endif

fresh: /* socket */
  atomic {
    if
    :: dst = 1
    :: me != 1 -> dst = 2 /* whichever contender 1 wants is destination 1 */
    fi
  }

attempt: /* SO_REUSEADDR = 0, bind: succeeds for whoever is alone. It may be left out. */
  if
  :: atomic { chain_lock == NOBODY -> chain_lock = me; alone = true; reuse[me] = SHARES; goto binding }
  :: goto shared
  OR_KILLED
  fi;

shared: /* SO_REUSEADDR = 1, bind */
  if
  :: atomic { chain_lock == NOBODY -> chain_lock = me; reuse[me] = true }
  OR_KILLED
  fi;

binding:
  do
  :: atomic { i < length && reuse[me] && reuse[chain[i]] -> i++ }
  :: atomic {
      i < length && !(reuse[me] && reuse[chain[i]]) -> /* EADDRINUSE */
      i = 0;
      chain_lock = NOBODY;
      if
      :: alone -> alone = false; goto shared /* on the same socket, which is not bound */
      :: !alone -> goto contended
      fi
    }
  :: atomic {
      i == length ->
      insert_at_head();
      i = 0;
      chain_lock = NOBODY;
      if
#ifdef REWRITE
      :: alone -> alone = false; lone = true; goto locked_alone
#else
      :: alone -> alone = false; goto locked_alone
#endif
      :: !alone -> break
      fi
    }
  od;

#ifdef LOOKUP_BEFORE_LOCK
  look_up();
#endif

#ifndef NO_LOCK
  /* SO_REUSEADDR = 0 */
  if
  :: reuse[me] = false
  OR_KILLED
  fi;
#endif

#ifndef NO_BARRIER
  /* bind of another socket to the same address and port: it fails, but only once it has held the chain's lock. */
  if
  :: chain_lock == NOBODY
  OR_KILLED
  fi;
#endif

#ifndef LOOKUP_BEFORE_LOCK
  look_up();
#endif

#ifdef UNLOCK_BEFORE_CONNECT
  if
  :: reuse[me] = true
  OR_KILLED
  fi;
#endif

  goto connecting;

locked_alone: /* No barrier and no lookup: since the kernel found nobody here, nobody could bind. */
#ifdef ALONE_UNLOCKS
  if
  :: reuse[me] = true
  OR_KILLED
  fi;
#endif

connecting: /* connect */
  if
  :: peer[me] = dst
#ifdef REWRITE
  :: peer[me] = 3 - dst /* a BPF program on the cgroup has it so */
#endif
  OR_KILLED
  fi;
  atomic {
    established[me] = true;
    owners[peer[me]]++;
#ifndef REWRITE
    assert(owners[dst] <= 1)
#endif
  }

#ifdef REWRITE
  /* verify: is somebody else connected there? Nobody can be where nobody else was on the port. */
  if
#ifdef NO_VERIFY
  :: atomic { given[me] = true; assert(!given_twice) }
#else
  :: atomic { lone || !has_twin -> lone = false; given[me] = true; assert(!given_twice) }
  :: atomic { !lone && has_twin -> goto contended }
#endif
  OR_KILLED
  fi;
#endif

#ifndef NO_UNLOCK
  /* SO_REUSEADDR = 1 */
  if
  :: reuse[me] = true
  OR_KILLED
  fi;
#endif

  /* The socket is its owner's now, for good or until it is closed. */
  if
  :: goto settled
  OR_KILLED
  fi;

contended: /* close, and another attempt with a new socket */
  atomic {
    chain_lock == NOBODY ->
    best[me] = NOBODY;
    pass = 0;
    if
    :: hashed[me] -> remove()
    :: else
    fi;
    reuse[me] = true
  }
#if defined(SETTLE) && !defined(IMPATIENT)
  unlocked(0) && unlocked(1) && unlocked(2);
#endif
  goto attempt;

gone: /* close: the 4-tuple is in use, the owner is done with it, or the process was killed */
  atomic {
    chain_lock == NOBODY ->
    best[me] = NOBODY;
    pass = 0;
    dst = 0;
#ifdef REWRITE
    lone = false;
#endif
    if
    :: hashed[me] -> remove()
    :: else
    fi;
    reuse[me] = false
  }
#ifndef SETTLE
  if
  :: goto fresh
  :: goto settled
  fi;
#endif

settled:
  skip
}

init {
  atomic {
    run contender(0);
    run contender(1);
    run contender(2);
    run quiescence()
  }
}
