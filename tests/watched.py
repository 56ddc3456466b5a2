"""`understudy watch` beside a directory tree, a copy of the tree in memory that is kept by the events alone, and what differs in the end."""
import json
import os
import stat
import subprocess
import sys
import tempfile
import time

import lab

WRITER = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'watch_writer.py')


def start_writers(tree, outside, writers, operations, directories, seed, *options):
    """Processes that share so many operations; their seeds follow `seed`."""
    return [subprocess.Popen([sys.executable, '-S', WRITER, tree, outside, str(seed + i), str(operations // writers), str(max(2, directories // writers)), *options])
            for i in range(writers)]


class File:
    """What is known of it; `stale`: it has to be looked at."""

    def __init__(self):
        self.stale, self.facts = True, None

    def look(self, path):
        if os.path.lexists(path):       # else check() finds it
            self.stale, self.facts = False, facts(path)


def facts(path):
    """What a copy has of a file: kind, mode, content. None of one that has other names: an event tells of the name that was used."""
    st = os.lstat(path)
    if st.st_nlink > 1:
        return None
    content = os.readlink(path) if stat.S_ISLNK(st.st_mode) else ''
    if stat.S_ISREG(st.st_mode):
        with open(path, 'rb') as f:
            content = f.read()
    return st.st_mode, content


class Dir(dict):
    """Its names; `stale`: it has to be listed."""
    stale = False


class Mirror:
    """Counted: `doubles` (made, and there already), `orphans` (of what is not there), that are not said to be a guess."""

    def __init__(self, tree):
        self.tree, self.top = os.fsencode(tree), Dir()
        self.events = self.doubles = self.orphans = self.lost = self.scanned = 0
        self.suspect = []       # the first events of these
        self.by_kind = {}

    def parent(self, path):
        """The directory of a path, None: there is none; and the last name."""
        *up, name = path.split(b'/')
        at = self.top
        for part in up:
            at = at.get(part) if isinstance(at, Dir) else None
        return at if isinstance(at, Dir) else None, name

    def count(self, what, event, path):
        if self.lost:
            self.mark(path)
        if event.get('coalesced') or event.get('scanned') or self.lost:
            return
        setattr(self, what, getattr(self, what) + 1)
        if len(self.suspect) < 20:
            self.suspect.append((self.events, what, event))

    def take(self, line):
        event = json.loads(line)
        self.events += 1
        self.scanned += 'scanned' in event
        path, old = (bytes.fromhex(event[f'{key}_hex']) if f'{key}_hex' in event else event.get(key, '').encode() for key in ('path', 'from'))
        self.by_kind[event['kind']] = self.by_kind.get(event['kind'], 0) + 1
        getattr(self, f"on_{event['kind']}", self.on_change)(event, path, old)

    def on_create(self, event, path, _):
        at, name = self.parent(path)
        if at is None:
            self.count('orphans', event, path)
            return
        if name in at:
            self.count('doubles', event, path)
        if not ('dir' in event and 'scanned' in event and isinstance(at.get(name), Dir)):
            at[name] = Dir() if 'dir' in event else File()

    def on_delete(self, event, path, _):
        at, name = self.parent(path)
        if at is None or name not in at:
            self.count('orphans', event, path)
        else:
            del at[name]

    def on_rename(self, event, path, old):
        (a, one), (b, other) = self.parent(old), self.parent(path)
        if 'exchanged' in event and b is not None:
            b[other] = Dir() if 'dir' in event else File()
            return
        if a is None or one not in a or b is None:
            self.count('orphans', event, path)
            if b is not None:
                b[other] = Dir() if 'dir' in event else File()
            return
        b[other] = a.pop(one)

    def on_change(self, event, path, _):
        at, name = self.parent(path)
        if path and 'dir' not in event and at is not None and isinstance(at.get(name), File):
            at[name].stale = True

    def on_lost(self, *_):
        self.lost += 1

    def on_found(self, _event, path, _old):
        self.mark(path)

    def mark(self, path):
        """It has to be listed, or the one above it that is known."""
        at = self.top
        for part in path.split(b'/') if path else []:
            below = at.get(part)
            if not isinstance(below, Dir):
                if below is not None:
                    below.stale = True
                else:
                    at.stale = True
                return
            at = below
        at.stale = True

    def list_found(self):
        """After events were lost: of a directory that was found all that is below it, for it may be another one now."""
        stack = [(b'', self.top)]
        while stack:
            path, at = stack.pop()
            if at.stale:
                self.list(path, at, deep=path != b'')
            stack += [(path + b'/' + name if path else name, node) for name, node in at.items() if isinstance(node, Dir)]

    def list(self, path, at, deep):
        full, at.stale = os.path.join(self.tree, path), False
        known = {entry.name: entry.is_dir(follow_symlinks=False) for entry in os.scandir(full)} if os.path.isdir(full) else {}
        for gone in at.keys() - known.keys():
            del at[gone]
        for name, is_dir in known.items():
            if not is_dir and not isinstance(at.get(name), File):
                at[name] = File()
            elif is_dir and (deep or not isinstance(at.get(name), Dir)):
                at[name] = Dir()
                self.list(path + b'/' + name if path else name, at[name], True)
            elif not is_dir and deep:
                at[name].stale = True

    def look(self):
        """Whatever was told to have changed is read."""
        for path, node in self.each():
            if isinstance(node, File) and node.stale:
                node.look(os.path.join(self.tree, path))

    def each(self):
        stack = [(b'', self.top)]
        while stack:
            path, at = stack.pop()
            for name, node in at.items():
                below = path + b'/' + name if path else name
                yield below, node
                if isinstance(node, Dir):
                    stack.append((below, node))

    def check(self):
        """What is wrong with it: paths that are not there, or should not be; files that are others."""
        copy, real = dict(self.each()), {}
        for at, dirs, files in os.walk(self.tree):
            below = os.path.relpath(at, self.tree)
            for name in dirs + files:
                path = name if below == b'.' else below + b'/' + name
                full = os.path.join(at, name)
                real[path] = name in dirs and not os.path.islink(full)
        wrong = {'missing': sorted(real.keys() - copy.keys()), 'extra': sorted(copy.keys() - real.keys()),
                 'kind': [path for path in real.keys() & copy.keys() if real[path] != isinstance(copy[path], Dir)], 'content': []}
        for path in real.keys() & copy.keys():
            if isinstance(copy[path], File) and not real[path]:
                now = facts(os.path.join(self.tree, path))
                if now and copy[path].facts and now != copy[path].facts:
                    wrong['content'].append(path)
        return {what: paths[:10] for what, paths in wrong.items() if paths}


class Watch:
    """The program, watching; its lines go to a file, so that nobody who reads slowly holds it up."""

    def __init__(self, tree, by, *options):
        self.tree, self.marks = tree, 0
        self.output = tempfile.mkstemp(prefix='watch-', dir=lab.BUILD)[1]       # not where there is no room
        with open(self.output, 'wb') as output:
            self.process = subprocess.Popen([lab.UNDERSTUDY, 'watch', tree, '--by', by, '--json', *options], stdout=output, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert f'watching {tree} by {by}' in line, line
        self.reader = open(self.output, 'rb')
        with open(os.path.join(tree, '.mark0'), 'w'):
            pass
        self.rest = b''

    def mark(self):
        """Something of our own, that is told after all that has happened until now, and needs no room."""
        self.marks += 1
        os.rename(os.path.join(self.tree, f'.mark{self.marks - 1}'), os.path.join(self.tree, f'.mark{self.marks}'))

    def lines(self, timeout=120):
        """All that has been told of what has happened until now."""
        self.mark()
        end, told = time.monotonic() + timeout, 0
        while told < self.marks:
            *lines, self.rest = (self.rest + self.reader.read(1 << 20)).split(b'\n')
            for line in lines:
                if b'"kind":"lost"' in line:        # and what we have marked may be
                    self.mark()
                elif b'"kind":"rename"' in line and b'"path":".mark' in line:
                    told = int(line.split(b'"path":".mark')[1].split(b'"')[0])
                yield line
            if not lines:
                assert self.process.poll() is None, 'it ended'
                assert time.monotonic() < end, f'the mark {self.marks} was not told'
                time.sleep(0.01)

    def cpu_s(self):
        with open(f'/proc/{self.process.pid}/stat') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def memory_mib(self):
        with open(f'/proc/{self.process.pid}/status') as f:
            return next(int(line.split()[1]) for line in f if line.startswith('VmHWM')) / 1024

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.reader.close()
        self.process.stderr.close()
        os.unlink(self.output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
