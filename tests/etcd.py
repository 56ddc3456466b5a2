"""The witness of a lab: a real etcd over TLS at a third place, with a link of its own to either site.

    site A ──── etcd ──── site B          etcd 10.79.0.1, reached through 10.79.1.0/24 from A and 10.79.2.0/24 from B
"""
import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess

import lab

PROGRAM = shutil.which('etcd')
ADDRESS, PORT = '10.79.0.1', 2379       # of the first member; the others' follow by tens
TTL_S = 3                               # the shortest that the configuration takes


class Member(lab.Daemon):
    """One etcd; its data outlives it."""

    def __init__(self, witness, number, place=None):
        self.place, name = place or witness.place, place.name if place else number
        self.port = PORT + 10 * number
        pki, client = witness.world.path('pki'), f'https://{ADDRESS}:{self.port}'
        peer = {n: f'http://{ADDRESS}:{PORT + 10 * n + 1}' for n in range(witness.count)}
        super().__init__(self.place, [
            PROGRAM, '--name', f'm{number}', '--data-dir', witness.world.path(f'etcd-{name}'),
            '--listen-client-urls', client, '--advertise-client-urls', client,
            '--listen-peer-urls', peer[number], '--initial-advertise-peer-urls', peer[number],
            '--initial-cluster', ','.join(f'm{n}={url}' for n, url in peer.items()),
            '--heartbeat-interval', '50', '--election-timeout', '500', '--unsafe-no-fsync',
            '--cert-file', f'{pki}/etcd.crt', '--key-file', f'{pki}/etcd.key',
            '--client-cert-auth', '--trusted-ca-file', f'{pki}/ca.crt', '--logger', 'zap'], witness.world.path(f'etcd-{name}.log'))


class Witness:
    """For a lab that has been entered: it changes the configuration of both sites. open() first, then kill() and start() as a test wants."""

    def __init__(self, world, count=1):
        self.world, self.count, self.members = world, count, []
        for role in ('primary', 'standby'):
            pki = world.path('pki')
            world.extra[role]['witness'] = {
                'endpoints': [f'https://{ADDRESS}:{PORT + 10 * n}' for n in range(count)], 'ttl_s': TTL_S,
                'ca': f'{pki}/ca.crt', 'cert': f'{pki}/{role}.crt', 'key': f'{pki}/{role}.key'}

    def open(self):
        self.place = self.world.place('w')
        self.place.run('ip', 'addr', 'add', f'{ADDRESS}/32', 'dev', 'lo')
        for net, site in enumerate((self.world.a, self.world.b), 1):
            here, there = f'10.79.{net}.1', f'10.79.{net}.2'
            self.place.run('ip', 'link', 'add', f'to-{site.name}', 'type', 'veth', 'peer', 'name', 'etcd', 'netns', str(site.pid))
            for namespace, device, ip in ((self.place, f'to-{site.name}', here), (site, 'etcd', there)):
                namespace.run('ip', 'addr', 'add', f'{ip}/24', 'dev', device)
                namespace.run('ip', 'link', 'set', device, 'up')
            site.run('ip', 'route', 'add', ADDRESS, 'via', here, 'src', there)
        self._certificate()
        self.start()

    def open_one_at_each_site(self):
        """In place of open(): two etcds, set up alike and at the same address, seen from where each is. Nothing else can be asked of them here."""
        self._certificate()
        for site in (self.world.a, self.world.b):
            site.run('ip', 'addr', 'add', f'{ADDRESS}/32', 'dev', 'lo')
            self.world.daemons.append(Member(self, 0, site))

    def _certificate(self):
        pki = self.world.path('pki')
        extensions = f'{pki}/etcd.ext'
        with open(extensions, 'w') as f:
            f.write(f'subjectAltName=IP:{ADDRESS}\n')
        for command in (f'req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=etcd -keyout {pki}/etcd.key -out {pki}/etcd.csr',
                        f'x509 -req -in {pki}/etcd.csr -CA {pki}/ca.crt -CAkey {pki}/ca.key -CAcreateserial -days 2 -extfile {extensions} '
                        f'-out {pki}/etcd.crt'):
            subprocess.run(['openssl', *command.split()], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self):
        """All members; returns when a leader answers."""
        self.members = [Member(self, number) for number in range(self.count)]
        self.world.daemons.extend(self.members)
        lab.wait_for('etcd answers', self.leader, 20, 0.05)

    def kill(self):
        for member in self.members:
            member.kill()

    @contextlib.contextmanager
    def full(self):
        """Within it members are started with a quota that every write exceeds."""
        os.environ['ETCD_QUOTA_BACKEND_BYTES'] = '1'
        try:
            yield
        finally:
            del os.environ['ETCD_QUOTA_BACKEND_BYTES']

    def lose_data(self):
        """Of members that are not running: they begin anew."""
        for number in range(self.count):
            shutil.rmtree(self.world.path(f'etcd-{number}'))

    def leader(self):
        """The member that leads, None while there is none."""
        for member in self.members:
            with contextlib.suppress(OSError, ValueError, KeyError, http.client.HTTPException):
                status = self._ask(member, '/v3/maintenance/status')
                if member.running() and status['header']['member_id'] == status['leader']:
                    return member
        return None

    def value(self):
        """What is stored of the lab's instance: who serves with which term; {} if nothing is."""
        found = self._ask(self.leader(), '/v3/kv/range', {'key': self._key()}).get('kvs', [])
        return json.loads(base64.b64decode(found[0]['value'])) if found else {}

    def store(self, value):
        """In place of that."""
        text = base64.b64encode(json.dumps(value).encode()).decode()
        self._ask(self.leader(), '/v3/kv/put', {'key': self._key(), 'value': text})

    def forget(self):
        """As if nobody had ever served."""
        self._ask(self.leader(), '/v3/kv/deleterange', {'key': self._key()})

    def _key(self):
        return base64.b64encode(f'/understudy/{self.world.name}'.encode()).decode()

    def _ask(self, member, target, question=None):
        pki = self.world.path('pki')
        context = ssl.create_default_context(cafile=f'{pki}/ca.crt')
        context.load_cert_chain(f'{pki}/standby.crt', f'{pki}/standby.key')
        with self.place.inside():
            sock = socket.socket()
        connection = http.client.HTTPSConnection(ADDRESS, member.port, timeout=2, context=context)
        with contextlib.closing(connection):
            sock.settimeout(2)
            sock.connect((ADDRESS, member.port))
            connection.sock = context.wrap_socket(sock, server_hostname=ADDRESS)
            connection.request('POST', target, json.dumps(question or {}))
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(answer.read())
            return json.loads(answer.read())

    def lose(self, *sites):
        """What these sites send to etcd is lost, silently; without any: nothing is lost any more."""
        for net, site in enumerate((self.world.a, self.world.b), 1):
            self.world.misdirect(site, 'etcd', f'10.79.{net}.1', self.place, f'to-{site.name}', site in sites)

    def logs(self):
        parts = []
        for number in range(self.count):
            with open(self.world.path(f'etcd-{number}.log'), errors='replace') as f:
                parts.append(f'--- etcd-{number}.log\n' + ''.join(f.readlines()[-10:]))
        return '\n'.join(parts)
