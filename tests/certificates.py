"""Certificates of a lab's CA for any time, as `understudy pki` does not make them."""
import os
import shutil
import subprocess
import time

import pytest

import lab

CONFIGURATION = """[ca]
default_ca = ca
[ca]
database = {base}/index
rand_serial = yes
new_certs_dir = {base}
default_md = sha256
policy = any
[any]
commonName = supplied
organizationalUnitName = supplied
"""


def moment(seconds):
    """So many from now on, as openssl writes it."""
    return time.strftime('%Y%m%d%H%M%SZ', time.gmtime(time.time() + seconds))


def issue(world, name, role, since, until):
    """A certificate for `role` that is valid from `since` to `until`, in seconds from now on: the part of a configuration that names it."""
    if shutil.which('openssl') is None:
        pytest.skip('openssl is missing')
    base, pki = world.path(name), world.path('pki')
    os.makedirs(base)
    with open(f'{base}/ca.cnf', 'w', encoding='ascii') as f:
        f.write(CONFIGURATION.format(base=base))
    open(f'{base}/index', 'w', encoding='ascii').close()
    for command in (['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', f'{base}/key',
                     '-subj', f'/CN=a/OU={role}', '-out', f'{base}/csr'],
                    ['ca', '-batch', '-notext', '-config', f'{base}/ca.cnf', '-cert', f'{pki}/ca.crt', '-keyfile', f'{pki}/ca.key',
                     '-in', f'{base}/csr', '-out', f'{base}/crt', '-startdate', moment(since), '-enddate', moment(until)]):
        done = subprocess.run(['openssl', *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 0, done.stderr
    os.chmod(f'{base}/key', 0o600)
    return {'cert': f'{base}/crt', 'key': f'{base}/key'}


def complaints(world, role):
    """What the health endpoint of that site says of its certificate."""
    return [problem['reason'] for problem in lab.fetch_unix(world.path(f'{role}.http'), '/healthz')['problems']
            if problem.get('state') == 'certificate']
