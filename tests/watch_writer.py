#!/usr/bin/env python3
"""Changes a directory tree at random, as one of several: usage: watch_writer.py TREE OUTSIDE SEED OPERATIONS DIRECTORIES [storms]

Creates, writes, truncates, removes, renames of files and of whole trees (over what is there, out of the tree and in again), links, symbolic
links, modes, odd names, deep paths; with storms: renames back and forth, exchanges, whiteouts left behind, the same link made again. What is refused (another one was faster,
no room) is no matter. DIRECTORIES: about how many each writer keeps.
"""
import ctypes
import os
import random
import shutil
import sys

EXCHANGE, WHITEOUT = 2, 4
LIBC = ctypes.CDLL(None, use_errno=True)
ODD = [b'\n', b' ', b'"\\', b'\x01\x7f', b'\xff\xfe', '\u00e9\u4e2d'.encode(), b'-rf', b'*', b'x' * 200, b'\xed\xa0\x80']


def rename_as(old, new, flags):
    if LIBC.renameat2(-100, old, -100, new, flags) != 0:
        raise OSError(ctypes.get_errno(), 'renameat2')


class Writer:
    def __init__(self, outside, seed, directories, storms):
        self.random, self.seed, self.limit = random.Random(seed), b'%d' % seed, directories
        self.outside, self.number = os.fsencode(outside), 0
        self.dirs, self.gone, self.made = [b'.'], [], [b'f']
        kinds = {self.create: 24, self.write: 10, self.make_dir: 12, self.remove: 10, self.rename_file: 9, self.rename_dir: 4, self.remove_tree: 2,
                 self.mode: 5, self.link: 4, self.symlink: 3, self.truncate: 3, self.leave: 1, self.come: 1, self.descend: 1}
        if storms:
            kinds |= {self.back_and_forth: 2, self.exchange: 2, self.whiteout: 1, self.relink: 1}
        self.kinds, self.weights = list(kinds), list(kinds.values())

    def there(self):
        """A name that is there, or was."""
        return self.random.choice(self.made)

    def name(self):
        """One of few for each directory, so that names are used again; most are this writer's own, some everybody's."""
        r = self.random
        if r.random() < .3:
            return self.there()
        who = self.seed if r.random() < .7 else b''
        middle = r.choice(ODD) if r.random() < .1 else b'f'
        name = b'/'.join((self.dir(), middle + b'%d' % r.randrange(12) + who))
        if len(self.made) < 400:
            self.made.append(name)
        else:
            self.made[r.randrange(400)] = name
        return name

    def dir(self):
        return self.random.choice(self.dirs)

    def create(self):
        with open(self.name(), 'wb') as f:
            f.write(b'%d' % self.random.randrange(1 << 40))

    def write(self):
        with open(self.there(), 'ab') as f:
            f.write(b'more')

    def truncate(self):
        os.truncate(self.there(), self.random.randrange(9))

    def make_dir(self):
        if len(self.dirs) > self.limit:
            self.prune()
            return
        path = self.name()
        os.mkdir(path)
        self.dirs.append(path)

    def prune(self):
        self.dirs = [path for path in self.dirs if os.path.isdir(path)] or [b'.']
        if len(self.dirs) > self.limit * 3 // 4:
            shutil.rmtree(self.random.choice(self.dirs[1:]), ignore_errors=True)

    def descend(self):
        path = max(self.dirs, key=len)
        for _ in range(8):
            path += b'/deep'
            os.mkdir(path)
            self.dirs.append(path)

    def remove(self):
        os.unlink(self.there())

    def remove_tree(self):
        shutil.rmtree(self.there(), ignore_errors=True)

    def rename_file(self):
        os.rename(self.there(), self.name())

    def rename_dir(self):
        os.rename(self.dir(), self.name())

    def back_and_forth(self):
        one = self.dir() if self.random.random() < .5 else self.there()
        other = self.name()
        for _ in range(self.random.randrange(2, 6)):
            os.rename(one, other)
            one, other = other, one

    def exchange(self):
        pick = self.dir if self.random.random() < .5 else self.there
        rename_as(pick(), pick(), EXCHANGE)

    def whiteout(self):
        rename_as(self.there(), self.name(), WHITEOUT)

    def leave(self):
        self.number += 1
        path = self.outside + b'/%s-%d' % (self.seed, self.number)
        os.rename(self.dir() if self.random.random() < .5 else self.there(), path)
        self.gone.append(path)

    def come(self):
        if self.gone:
            self.number += 1
            path = self.dir() + b'/in%s-%d' % (self.seed, self.number)
            os.rename(self.gone.pop(), path)
            self.dirs.append(path)

    def link(self):
        os.link(self.there(), self.name(), follow_symlinks=False)

    def relink(self):
        """The same file by the same name again, after it was renamed."""
        one, other, third = self.there(), self.name(), self.name()
        os.link(one, other, follow_symlinks=False)
        os.rename(other, third)
        os.link(one, other, follow_symlinks=False)

    def symlink(self):
        os.symlink(b'to', self.name())

    def mode(self):
        os.chmod(self.there() if self.random.random() < .7 else self.dir(), self.random.choice([0o700, 0o755, 0o750]))

    def run(self, operations):
        for _ in range(operations):
            try:
                self.random.choices(self.kinds, self.weights)[0]()
            except (OSError, shutil.Error):
                pass


if __name__ == '__main__':
    tree, outside_tree, writer_seed, count, many = sys.argv[1:6]
    os.chdir(tree)
    Writer(outside_tree, int(writer_seed), int(many), 'storms' in sys.argv[6:]).run(int(count))
