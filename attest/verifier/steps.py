"""The steps of a verification, in order, with the rule that each one applies.

 0. The evidence has its form: known fields, bounded sizes (``attest.evidence``).
PLATFORM, the first reason of which that says "not authentic" is the last of the whole appraisal
 1. the evidence is of the host that the enrolment record names;
 2. its attestation key is the enrolled one (RFC 9334, 7.1: the verifier trusts the key, not the claim);
 3. the key signs only what its TPM made (TPM 2.0 Part 1, 25.1.5; Part 2, 8.3);
 4. the TPM's endorsement certificate leads to an anchor (RFC 5280, 6.1; TCG EK Credential Profile 2.6) and
    is a hardware maker's, unless the profile admits programs;
 5. the enrolment is not too old, and the reference values have not expired.
QUOTE, for the host here and for every vTPM in step 25
 6. the key signed exactly these bytes by its own scheme (Part 2, 11.3.4), and is the signer they name;
 7. extraData is the hash over this nonce, the channel it was asked over (in the manner of RFC 5929, 4) and
    what hangs on the quote (RFC 9334, 10.2);
 8. one PCR bank, every demanded PCR, values for the quoted PCRs only (Part 2, 10.6; CVE-2022-0317);
 9. the values hash to the quoted digest (Part 3, 18.4).
PLATFORM_STATE
10. the clock went on since an earlier quote, and the TPM vouches for it (Part 1, 36.3); its firmware is the
    one it was enrolled with, and it was not resumed since this boot was first quoted (36.6);
11. the logs replay to the quoted PCRs (PFP 1.06, 10; CEL 1.0), and what the firmware log says of its events
    is so: only now are events facts.
FIRMWARE, LOADER, XEN, DOM0
12. PCR 0-7 by component (PFP 1.06, 2.3.4), and a log where the profile wants one, of a sound boot;
13. loader (PCR 4, Authenticode) and its commands (PCR 8), or an image that takes no words of a boot entry;
14. PCR 12 begins with one hypervisor report, and holds nothing foreign;
15. hypervisor file (PCR 9) and reported build;  16. its command line (PCR 8);  17. reported settings;
    FLASK enforces, and its policy is the expected one, as reported or by its measured file;
18. dom0's files (PCR 9) and command lines (PCR 8, and as its kernel reports with Xen in PCR 12); where it is
    asked for, its user land: a measurement list that PCR 10 proves, of this boot, with known files alone
    (Linux, IMA-templates.rst).
ACM_POLICY
19. a policy was measured;  20. the last one is the expected file, by digest and Merkle root; where it counts
    past runs, their history was measured with it, and only grew since unless it was begun anew, which is
    noted (acm.history).
HOST, and DOMAIN for each one asked for
21. no domain was found in PCR 13 that nobody launched;
22. its launch is committed to in PCR 13, and was not stopped;
23. label, configuration, kernel, ramdisk and disks are those of the reference values;
24. its policy was measured on this host; the expected policy knows its label.
VTPM_KEY, QUOTE and VTPM, the child of each domain
25. the vTPM's key is an attestation key, and its quote passes QUOTE;
26. the quote is a leaf under the host's signature (RFC 6962, 2.1.1);
27. PCR 17 holds the label record; the key works only under it (Part 3, 23.7);
28. record, key, domain, host and binding belong together, since the host's last reset;
29. they are what was measured at launch: nobody relabelled the vTPM.

Not done here, since it needs a clock, a network or memory:

- that a nonce is fresh, unguessable and used once: the caller makes it, and forgets it after one use;
- revocation of certificates and keys: the caller takes them out of anchors and enrolments;
- who owns which vTPM generation (clone, fork): the registrar's compare-and-swap;
- that the reference values themselves are current and rightly made: the caller chose them;
- what boots inside a guest (its vTPM's PCR 0-15);
- files that dom0's IMA policy does not measure, and what a measured program does;
- that the channel's key is the one of the caller's own connection: the caller looks at it.
"""

from __future__ import annotations

from typing import Final

from attest.verifier import (
    acm_policy,
    dom0,
    domain,
    firmware,
    host,
    loader,
    past_runs,
    platform,
    quotes,
    vtpm,
    xen,
)

PLATFORM: Final = (
    platform.host_name,
    platform.ak_enrolled,
    platform.ak_attributes,
    platform.endorsement,
    platform.enrolment_age,
    platform.reference_age,
)
QUOTE: Final = (quotes.signature, quotes.nonce, quotes.selection, quotes.digest)
PLATFORM_STATE: Final = (platform.clock, platform.tpm_firmware, platform.not_resumed)
FIRMWARE: Final = (firmware.compared, firmware.log_shown, firmware.as_expected, firmware.sound)
LOADER: Final = (loader.compared, loader.as_expected, loader.boot_entry)
XEN: Final = (
    xen.reported_first,
    xen.reported_once,
    xen.events_in_place,
    xen.compared,
    xen.hypervisor,
    xen.command_line,
    xen.settings,
    xen.flask_enforcing,
    xen.flask_policy,
)
DOM0: Final = (
    dom0.files,
    dom0.command_line,
    dom0.command_line_reported,
    dom0.list_shown,
    dom0.list_tied,
    dom0.files_known,
    dom0.user_land,
)
ACM_POLICY: Final = (
    acm_policy.measured,
    acm_policy.as_expected,
    past_runs.measured,
    past_runs.consistent,
)
HOST: Final = (host.accounted,)
DOMAIN: Final = (
    domain.launch_measured,
    domain.still_running,
    domain.in_reference,
    domain.label,
    domain.image,
    domain.policy_measured,
    domain.label_in_policy,
)
VTPM_KEY: Final = (vtpm.key_attributes,)
VTPM: Final = (
    vtpm.included,
    vtpm.labelled,
    vtpm.key_policy,
    vtpm.bound,
    vtpm.fresh,
    vtpm.label_as_launched,
    vtpm.types_as_in_policy,
)
