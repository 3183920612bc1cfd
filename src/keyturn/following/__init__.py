"""For services that check access tokens of an issuer elsewhere: keys and revocations, followed over
HTTP by a thread beside, so that a check costs no call.
"""
