"""`check --schema` and the reader of a configuration say the same of one value, as far as a schema can."""
import json
import re
import subprocess

import lab

# Without a site, so that no case gets past the reader, to what is about this machine.
BASE = {'site': '', 'tls': {'ca': 'a', 'cert': 'b', 'key': 'c'}}
PRIMARY = BASE | {'link': {'connect': 'b:1'}, 'instances': [{'name': 'vm', 'qmp': '/q'}]}
STANDBY = BASE | {'link': {'listen': 'b:1'}, 'state_dir': '/s', 'hypervisor': {'program': '/q'}, 'instances': [{'name': 'vm'}]}
NIC, VRRP = {'name': 'n', 'tap': 't'}, {'device': 'd', 'group': 1, 'addresses': ['192.0.2.1/24'], 'routes': ['default via 192.0.2.9']}

PORTS = ['1', '00080', '65535', '0', '00000', '65536', '99999', '100000', '', '-1', '7x']
HOSTS = ['a', 'a-b.c_d', 'a.', '192.0.2.7', '[2001:db8::7]', '[fe80::1%eth0]', '[::ffff:192.0.2.7]', 'a' * 253,
         'a' * 254, '-a', '', '192.0.2.256', '192.0.2', 'a.1', '01.2.3.4', '2001:db8::7', '[]', '[a]', '[a:1]x', 'a b', 'a\tb', 'é']
ADDRESSES = [f'{host}:7400' for host in HOSTS] + [f'a:{port}' for port in PORTS] + ['a', 'a:1\n', '\na:1', 'a:1 ']
DEVICES = ['a', 'a' * 15, 'a' * 16, '', '.', '..', '...', '.a', 'a/b', 'a b', 'a:b', 'a%b', 'a\n', 'a\x01', '..\n', 'ä']
PATHS = ['a', '/a b', '', 'a\n', 'a\x7f', 'a\tb', 'é']
PREFIXES = ['192.0.2.7', '192.0.2.7/0', '192.0.2.7/32', '192.0.2.7/032', '192.0.2.7/33', '192.0.2.7/', '192.0.2/24', '192.0.2.07/24',
            '2001:db8::7/64', '2001:db8::7/128', '2001:db8::7/129', '2001:db8::7/0001', 'vip', '', '192.0.2.7/24\n']
ROUTES = [f'{to} via {via}' for to in ['default', '198.51.100.0/24', '2001:db8:1::/48', 'Default', '']
          for via in ['192.0.2.1', '2001:db8::1', '192.0.2.1/24', 'router', '']] + ['', 'via', '192.0.2.1', 'default via 192.0.2.1 dev a']

# Where one listens, and nobody can connect to; and what only looks like it.
NOBODY = ['0.0.0.0', '[::]', '[0::0]', '[0:0::0]', '[0000:0:0:0:0:0:0:0]', '[::0.0.0.0]', '[::%eth0]', '[::ffff:0.0.0.0]', '[::FFFF:0:0]',
          '[0:0:0:0:0:ffff:0.0.0.0]', '[0:0:0:0:0:ffff::]', '[0:0:0:0:0:ffff::0]']
SOMEBODY = ['0.0.0.01', '0.0.0.1', '[::1]', '[::0.0.0.1]', '[::ffff:0.0.0.1]', '[::ffff:0]', '[ffff::]', '[0:ffff::]', '[::ffff:0:0:0]', '[::ffff:0:1]']

# Role, keys to the value with what is around it, and values for it.
CASES = [
    ('primary', ['link', 'connect'], ADDRESSES + [f'{host}:1' for host in NOBODY + SOMEBODY]),
    ('standby', ['link', 'listen'], ADDRESSES + ['0.0.0.0:1', '[::]:1']),
    ('standby', ['http', 'listen'], ADDRESSES + ['unix:/a', 'unix:a', 'unix:', 'unix:/a\n', 'unix:/' + 'a' * 106, 'unix:/' + 'a' * 107]),
    ('standby', ['witness', 'endpoints', 0], [f'https://{address}' for address in ADDRESSES] + ['http://a:1', 'a:1', '', 'https://a:1/']),
    ('standby', ['instances', 0, 'nics', 0, 'tap'], DEVICES),
    ('standby', ['instances', 0, 'nics', 0, 'name'], ['a', 'a' * 64, 'a' * 65, '', '.a', '-a', 'a\n', 'a/b', 'é']),
    ('standby', ['instances', 0, 'vrrp', 0, 'addresses', 0], PREFIXES),
    ('standby', ['instances', 0, 'vrrp', 0, 'routes', 0], ROUTES),
    ('standby', ['machine', 'data'], ['S1', '/dev/vdb', 'QEMU HARDDISK', '0x5000:c500', 'a' * 63, 'a' * 64, '', 'a\n', 'a"', 'é']),
    ('standby', ['tls', 'ca'], PATHS),
    ('primary', ['instances', 0, 'qmp'], PATHS),
    ('primary', ['instances', 0, 'standby_arguments', 0], ['', 'a', '-m 1', 'a\n', 'é']),
]


def schema_of(role):
    return json.loads(subprocess.run([lab.UNDERSTUDY, 'check', '--schema', '--role', role], stdout=subprocess.PIPE, check=True).stdout)


def at(schema, keys):
    for key in keys:
        schema = schema['items'] if key == 0 else schema['properties'][key]
    return schema


def allows(schema, value):
    return re.search(schema['pattern'], value) is not None and schema.get('minLength', 0) <= len(value) <= schema.get('maxLength', 4095)


def put(config, keys, value):
    around = {'nics': [NIC], 'vrrp': [VRRP], 'witness': {'endpoints': [''], 'ca': 'w'}, 'http': {}, 'machine': {}, 'standby_arguments': ['']}
    for key, following in zip(keys, keys[1:]):
        if key in around and key not in config:
            config[key] = json.loads(json.dumps(around[key]))
        config = config[key]
        assert isinstance(config, list if following == 0 else dict)
    config[keys[-1]] = value


def problems(tmp_path, config):
    """What the reader has against it."""
    (tmp_path / 'config.json').write_text(json.dumps(config))
    told = subprocess.run([lab.UNDERSTUDY, 'check', '--config', str(tmp_path / 'config.json')], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, text=True).stdout
    assert 'config.json: site: is empty' in told, told
    return told.splitlines()


def test_the_schema_refuses_what_the_reader_refuses_and_takes_what_it_takes(tmp_path):
    for role, keys, values in CASES:
        schema = at(schema_of(role), keys)
        path = '.'.join(str(key) for key in keys).replace('.0', '[0]')
        for value in values:
            config = json.loads(json.dumps(PRIMARY if role == 'primary' else STANDBY))
            put(config, keys, value)
            against = [line for line in problems(tmp_path, config) if f'config.json: {path}: ' in line]
            assert allows(schema, value) == (not against), f'{path}: {value!r}: {against} {schema}'


def test_an_address_that_only_a_listener_has_is_no_standbys(tmp_path):
    for host in NOBODY:
        config = json.loads(json.dumps(PRIMARY))
        put(config, ['link', 'connect'], f'{host}:1')
        assert [line for line in problems(tmp_path, config) if 'link.connect: ' in line and 'is where one listens' in line], host


def test_a_witness_has_endpoints_and_an_authority_where_it_is_named(tmp_path):
    assert at(schema_of('standby'), ['witness'])['required'] == ['endpoints', 'ca']
    assert 'witness' not in schema_of('standby')['required']
    told = problems(tmp_path, STANDBY | {'witness': {}})
    assert [line for line in told if 'witness.endpoints: missing' in line] and [line for line in told if 'witness.ca: missing' in line], told
    assert not [line for line in problems(tmp_path, STANDBY) if 'witness.' in line]


def test_the_schema_says_what_it_cannot():
    assert 'counted in bytes' in schema_of('primary')['description']
